//! The files that a configuration names.

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use super::Config;
use crate::{causes, texts::tr};

impl Config {
    /// Every file with a secret: signing keys, private keys of certificates, shared secrets, passwords of mail servers,
    /// keys that we show log servers, registrations of application services, what we show identity providers and directories and what identity systems show us, keys of buckets, accounts and keys at push
    /// services.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for authority in &self.authorities {
            files.push(self.path(&authority.key_file));
            files.extend(authority.tls.iter().map(|tls| self.path(&tls.key)));
            files.extend(authority.registration.shared_secret_file.iter().map(|file| self.path(file)));
            files.extend(authority.application_services.iter().map(|file| self.path(file)));
            let password = authority.mail.as_ref().and_then(|mail| mail.password_file.as_ref());
            files.extend(password.map(|file| self.path(file)));
            let secret =
                authority.upstream.as_ref().and_then(|upstream| upstream.client_secret_file.as_ref());
            files.extend(secret.map(|file| self.path(file)));
            let tokens = authority.scim.iter().filter_map(|source| source.token_file.as_ref());
            files.extend(tokens.map(|file| self.path(file)));
            let passwords = authority.ldap.iter().filter_map(|source| source.password_file.as_ref());
            files.extend(passwords.map(|file| self.path(file)));
            let keys = authority.syslog.iter().filter_map(|server| server.key_file.as_ref());
            files.extend(keys.map(|file| self.path(file)));
        }
        files.extend(self.media.s3.iter().map(|bucket| self.path(&bucket.secret_file)));
        let apps = self.push.gateway.iter().flat_map(|gateway| &gateway.apps);
        let of_apps = apps.flat_map(|app| app.account_file.iter().chain(&app.key_file));
        files.extend(of_apps.map(|file| self.path(file)));
        files.extend(self.store.url_file.iter().map(|file| self.path(file)));
        files
    }

    /// Those secrets, and data, that others on this machine may read; the configuration, too, if it tells secrets.
    pub fn exposed_secrets(&self) -> Vec<PathBuf> {
        let mut files = self.secret_files();
        if self.tells_secrets {
            files.push(self.file.clone());
        }
        if self.store.backend == super::Backend::Rocksdb {
            files.push(self.path(&self.store.path));
        }
        files.retain(|file| {
            let mode = std::fs::metadata(file).map(|metadata| metadata.permissions().mode());
            mode.is_ok_and(|mode| mode & 0o077 != 0)
        });
        files
    }

    /// Every file that is named and cannot be read, with the reason.
    pub fn unreadable_files(&self) -> Vec<String> {
        let mut files = self.secret_files();
        for authority in &self.authorities {
            files.extend(authority.tls.iter().map(|tls| self.path(&tls.certificate)));
            let ca = authority.mail.as_ref().and_then(|mail| mail.ca_file.as_ref());
            files.extend(ca.map(|file| self.path(file)));
            let ca = authority.ldap.iter().filter_map(|source| source.ca_file.as_ref());
            files.extend(ca.map(|file| self.path(file)));
            let shown = authority
                .syslog
                .iter()
                .flat_map(|server| server.ca_file.iter().chain(&server.certificate_file));
            files.extend(shown.map(|file| self.path(file)));
        }
        files.extend(self.upstream_ca_files());
        let ca = self.media.s3.iter().filter_map(|bucket| bucket.ca_file.as_ref());
        files.extend(ca.map(|file| self.path(file)));
        files.extend(self.federation.ca_files.iter().map(|file| self.path(file)));
        let reason = |file: PathBuf| {
            let error = std::fs::File::open(&file).err()?;
            Some(tr!(
                "{path} を読めません: {error}",
                "{path} cannot be read: {error}",
                path = file.display(),
                error = causes::of_io(&error)
            ))
        };
        files.into_iter().filter_map(reason).collect()
    }
}
