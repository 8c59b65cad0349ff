package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"causeway/internal/admin"

	"gopkg.in/yaml.v3"
)

// contexts is ~/.config/causeway/contexts.yaml: nodes with a name.
//
//	current: eu
//	contexts:
//	  - { name: eu, server: "https://eu-1:18083", token_file: ~/.config/causeway/eu.token, ca: ~/ca.pem }
//	  - { name: here, data_dir: /srv/causeway }
type contexts struct {
	Current  string       `yaml:"current"`
	Contexts []ctlContext `yaml:"contexts"`
}

type ctlContext struct {
	Name      string `yaml:"name"`
	Server    string `yaml:"server"`
	TokenFile string `yaml:"token_file"`
	CA        string `yaml:"ca"`
	Socket    string `yaml:"socket"`
	DataDir   string `yaml:"data_dir"`
}

// contextsPath is where the file is: $XDG_CONFIG_HOME, otherwise ~/.config.
func (c *ctl) contextsPath() (string, error) {
	dir, home := c.std.getenv("XDG_CONFIG_HOME"), c.std.getenv("HOME")
	switch {
	case dir == "" && home == "":
		return "", errors.New("find contexts.yaml: HOME is not set")
	case dir == "":
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "causeway", "contexts.yaml"), nil
}

// fromContext finds the node of a context, or of the current one when name is empty; found is
// false when no context was asked for and there is none.
func (c *ctl) fromContext(name string) (a admin.Address, found bool, err error) {
	path, err := c.contextsPath()
	if err != nil {
		if name == "" {
			return a, false, nil // no home directory, no contexts
		}
		return a, false, err
	}
	file, err := readContexts(path)
	if errors.Is(err, fs.ErrNotExist) && name == "" {
		return a, false, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return a, false, fmt.Errorf("context %q: there is no %s; write it, or use --server", name, path)
	}
	if err != nil {
		return a, false, err
	}
	if name == "" {
		name = file.Current
	}
	if name == "" {
		return a, false, nil
	}
	var names []string
	for _, x := range file.Contexts {
		if x.Name == name {
			a, err = c.contextAddress(x)
			return a, true, err
		}
		names = append(names, x.Name)
	}
	return a, false, fmt.Errorf("context %q is not in %s; it has %s", name, path, strings.Join(names, ", "))
}

func (c *ctl) contextAddress(x ctlContext) (admin.Address, error) {
	switch {
	case x.Server != "":
		return c.overTCP(x.Server, x.TokenFile, x.CA)
	case x.Socket != "":
		return admin.Address{Socket: c.expand(x.Socket)}, nil
	case x.DataDir != "":
		return admin.Address{Socket: socketIn(c.expand(x.DataDir))}, nil
	}
	return admin.Address{}, fmt.Errorf("context %q names no node; give it server, socket or data_dir", x.Name)
}

func readContexts(path string) (contexts, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return contexts{}, err
	}
	var file contexts
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return contexts{}, fmt.Errorf("%s: %w", path, err)
	}
	return file, nil
}

func socketIn(dataDir string) string { return filepath.Join(dataDir, "admin.sock") }

// expand replaces a leading ~/.
func (c *ctl) expand(path string) string {
	rest, ok := strings.CutPrefix(path, "~/")
	if home := c.std.getenv("HOME"); ok && home != "" {
		return filepath.Join(home, rest)
	}
	return path
}

// overTCP is a node behind admin.listen.
func (c *ctl) overTCP(server, tokenFile, ca string) (a admin.Address, err error) {
	a.URL = server
	if tokenFile == "" {
		return a, fmt.Errorf("%s asks for a token; give --token-file (or token_file in the context)", server)
	}
	if a.Token, err = readToken(c.expand(tokenFile)); err != nil {
		return a, err
	}
	if ca != "" {
		pool := x509.NewCertPool()
		pem, err := os.ReadFile(c.expand(ca))
		if err != nil {
			return a, fmt.Errorf("authority of %s: %w", server, err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return a, fmt.Errorf("authority of %s: there is no certificate in %s", server, ca)
		}
		a.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return a, nil
}

// readToken reads a token from a file that nobody else may read.
func readToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("token: others may read %s (mode %04o); chmod 600 %s", path, info.Mode().Perm(), path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsAny(token, " \r\n\t") {
		return "", fmt.Errorf("token: %s must hold one token and nothing else", path)
	}
	return token, nil
}
