// The launcher is the entry point of the Complement image. Complement gives a server its name and a
// certificate authority at start; a Yakuba gets both from its configuration. So this program makes
// the certificate, writes the configuration on the first start, and then becomes the server.
//
// It runs many times over the same file system (Complement stops, commits and copies containers),
// and under another name each time, hence: the certificate is made anew at every start, the
// configuration follows SERVER_NAME, and the data directory stays as it is.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	authorityCertificate = "/complement/ca/ca.crt"
	authorityKey         = "/complement/ca/ca.key"
	home                 = "/yakuba"
)

func main() {
	name := os.Getenv("SERVER_NAME")
	if name == "" {
		log.Fatal("SERVER_NAME is not set")
	}
	must(os.MkdirAll(home+"/data", 0o700))
	must(writeCertificate(name))
	template, err := os.ReadFile(home + "/template.toml")
	must(err)
	services, err := registrations()
	must(err)
	filled := strings.NewReplacer("@SERVER_NAME@", name, "@REGISTRATIONS@", services).Replace(string(template))
	must(os.WriteFile(home+"/yakuba.toml", []byte(filled), 0o600))
	must(os.WriteFile(home+"/secret", []byte("complement"), 0o600))
	must(writeSigningKey())
	must(os.Chdir(home))
	must(syscall.Exec("/bin/yakuba", []string{"yakuba", "serve", "--begin", "--config", home + "/yakuba.toml"}, os.Environ()))
}

// registrations lists the files of the application services that Complement has put there.
func registrations() (string, error) {
	files, err := filepath.Glob("/complement/appservice/*.yaml")
	if err != nil {
		return "", err
	}
	var quoted []string
	for _, file := range files {
		quoted = append(quoted, strconv.Quote(file))
	}
	return strings.Join(quoted, ", "), nil
}

// writeSigningKey makes the server's Matrix signing key, once. A blueprint's copy keeps it.
func writeSigningKey() error {
	path := home + "/keys/server.key"
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(home+"/keys", 0o700); err != nil {
		return err
	}
	seed := make([]byte, 32)
	if _, err := rand.Read(seed); err != nil {
		return err
	}
	line := "ed25519 c1 " + base64.RawStdEncoding.EncodeToString(seed) + "\n"
	return os.WriteFile(path, []byte(line), 0o600)
}

// writeCertificate signs a certificate for name with Complement's authority.
func writeCertificate(name string) error {
	issuerPEM, err := os.ReadFile(authorityCertificate)
	if err != nil {
		return err
	}
	issuer, err := x509.ParseCertificate(firstBlock(issuerPEM))
	if err != nil {
		return err
	}
	keyPEM, err := os.ReadFile(authorityKey)
	if err != nil {
		return err
	}
	issuerKey, err := x509.ParsePKCS1PrivateKey(firstBlock(keyPEM))
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(home+"/tls.crt", "CERTIFICATE", der, 0o644); err != nil {
		return err
	}
	return writePEM(home+"/tls.key", "PRIVATE KEY", keyDER, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

func firstBlock(text []byte) []byte {
	block, _ := pem.Decode(text)
	if block == nil {
		log.Fatal("a PEM file of the authority holds no block")
	}
	return block.Bytes
}

func must(err error) {
	if err != nil {
		log.Fatal(fmt.Errorf("launcher: %w", err))
	}
}
