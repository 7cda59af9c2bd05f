// The results program turns the output of `go test -json` into the reviewed results file.
//
//	results collect RACING EVENTS… > results.jsonl  one object a line: package, test, result; sorted
//	results compare BEFORE AFTER                lists what got worse and better; status 1 when worse
//	results summary FILE                        passed/failed/skipped per package
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"sort"
	"strings"
)

// A Result is what became of one test or sub-test.
type Result struct {
	Package string `json:"package"`
	Test    string `json:"test"`
	Result  string `json:"result"`
}

const module = "github.com/matrix-org/complement/"

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: results collect|compare|summary FILE…")
	}
	switch os.Args[1] {
	case "collect":
		collect(os.Args[2], os.Args[3:])
	case "compare":
		compare(os.Args[2], os.Args[3])
	case "summary":
		summary(os.Args[2])
	default:
		log.Fatalf("unknown command %q", os.Args[1])
	}
}

// collect reads files of test events; where a test was run twice, the last run counts, but of those that race with
// themselves (a line "PACKAGE TEST" each) any that passed. A test that started and never ended (a panic, a time-out) failed.
func collect(racingFile string, files []string) {
	racing := map[[2]string]bool{}
	lines(racingFile, func(line []byte) {
		if pkg, test, ok := strings.Cut(string(line), " "); ok && pkg != "#" {
			racing[[2]string{pkg, test}] = true
		}
	})
	found := map[[2]string]string{}
	for _, name := range files {
		lines(name, func(line []byte) {
			var event struct{ Action, Package, Test string }
			// Build output stands between the events; it is not JSON.
			if json.Unmarshal(line, &event) != nil || event.Test == "" {
				return
			}
			key := [2]string{strings.TrimPrefix(event.Package, module), event.Test}
			if racing[key] && found[key] == "pass" {
				return
			}
			switch event.Action {
			case "run":
				found[key] = "fail"
			case "pass", "fail", "skip":
				found[key] = event.Action
			}
		})
	}
	all := make([]Result, 0, len(found))
	for key, result := range found {
		all = append(all, Result{key[0], key[1], result})
	}
	sort.Slice(all, func(i, j int) bool {
		if all[i].Package != all[j].Package {
			return all[i].Package < all[j].Package
		}
		return all[i].Test < all[j].Test
	})
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for _, r := range all {
		if err := out.Encode(r); err != nil {
			log.Fatal(err)
		}
	}
}

// compare prints the top-level tests and sub-tests whose result changed. Of those that got worse it
// prints the name alone after "WORSE", so that a script can run them again.
func compare(beforeFile, afterFile string) {
	before, after := load(beforeFile), load(afterFile)
	ran := map[string]bool{}
	for key := range after {
		ran[key[0]+" "+top(key[1])] = true
	}
	worse, better := 0, 0
	for _, key := range sorted(before) {
		now, present := after[key]
		switch {
		case before[key] == "pass" && now != "pass" && (present || ran[key[0]+" "+top(key[1])]):
			worse++
			fmt.Printf("WORSE %s %s %s\n", key[0], key[1], describe(now))
		case before[key] == "pass" && !present:
			worse++
			fmt.Printf("WORSE %s %s did-not-run\n", key[0], key[1])
		}
	}
	for _, key := range sorted(after) {
		if after[key] == "pass" && before[key] != "pass" {
			better++
			fmt.Printf("better %s %s\n", key[0], key[1])
		}
	}
	fmt.Printf("%d worse, %d better than the committed results\n", worse, better)
	if worse > 0 {
		os.Exit(1)
	}
}

func summary(file string) {
	type count struct{ pass, fail, skip int }
	tests, subs := map[string]*count{}, map[string]*count{}
	add := func(to map[string]*count, name, result string) {
		if to[name] == nil {
			to[name] = &count{}
		}
		switch result {
		case "pass":
			to[name].pass++
		case "fail":
			to[name].fail++
		case "skip":
			to[name].skip++
		}
	}
	for key, result := range load(file) {
		into := tests
		if strings.Contains(key[1], "/") {
			into = subs
		}
		add(into, key[0], result)
		add(into, "all", result)
	}
	names := []string{}
	for name := range tests {
		if name != "all" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	fmt.Printf("%-16s %28s   %28s\n", "package", "tests pass/fail/skip", "sub-tests pass/fail/skip")
	for _, name := range append(names, "all") {
		t, s := tests[name], subs[name]
		if t == nil {
			t = &count{}
		}
		if s == nil {
			s = &count{}
		}
		fmt.Printf("%-16s %16d / %3d / %3d   %18d / %3d / %3d\n", name, t.pass, t.fail, t.skip, s.pass, s.fail, s.skip)
	}
}

func load(file string) map[[2]string]string {
	all := map[[2]string]string{}
	lines(file, func(line []byte) {
		var r Result
		if err := json.Unmarshal(line, &r); err != nil {
			log.Fatalf("%s: %v", file, err)
		}
		all[[2]string{r.Package, r.Test}] = r.Result
	})
	return all
}

func lines(file string, each func([]byte)) {
	f, err := os.Open(file)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 64<<20)
	for scanner.Scan() {
		if len(scanner.Bytes()) > 0 {
			each(scanner.Bytes())
		}
	}
	if err := scanner.Err(); err != nil {
		log.Fatal(err)
	}
}

func sorted(all map[[2]string]string) [][2]string {
	keys := make([][2]string, 0, len(all))
	for key := range all {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(i, j int) bool {
		return keys[i][0]+" "+keys[i][1] < keys[j][0]+" "+keys[j][1]
	})
	return keys
}

func top(test string) string {
	name, _, _ := strings.Cut(test, "/")
	return name
}

func describe(result string) string {
	if result == "" {
		return "missing"
	}
	return result
}
