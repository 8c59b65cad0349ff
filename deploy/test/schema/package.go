package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"strings"
)

// Load reads the schemas of some resources and data sources of a provider ("aws") out of its npm package. Types has what a
// module says behind resource and data: aws_instance, data.aws_ami. What the package does not have is left out: terraform
// complains of it.
func Load(archive, provider string, types []string) (*Provider, error) {
	folders := map[string]string{"provider": ""}
	for _, t := range types {
		folders[folderOf(t, provider)] = t
	}
	texts, err := sources(archive, folders)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", archive, err)
	}
	p := &Provider{Resources: map[string]Block{}, Data: map[string]Block{}}
	for folder, text := range texts {
		block, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("read %s in %s: %w", folder, archive, err)
		}
		name := folders[folder]
		if data, ok := strings.CutPrefix(name, "data."); ok {
			p.Data[data] = block
		} else if name != "" {
			p.Resources[name] = block
		} else {
			p.Config = optional(block)
		}
	}
	return p, nil
}

// folderOf is where the package keeps a type: aws_lb_listener in lib/lb-listener, data.aws_ami in lib/data-aws-ami.
func folderOf(name, provider string) string {
	if data, ok := strings.CutPrefix(name, "data."); ok {
		return strings.ReplaceAll("data_"+data, "_", "-")
	}
	return strings.ReplaceAll(strings.TrimPrefix(name, provider+"_"), "_", "-")
}

// optional drops alias, which the package adds, from a provider's configuration.
func optional(b Block) Block {
	delete(b.Attributes, "alias")
	return b
}

// sources are the TypeScript texts of the folders of lib, all files of one together.
func sources(archive string, folders map[string]string) (map[string]string, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return texts, nil
		}
		if err != nil {
			return nil, err
		}
		folder, file, _ := strings.Cut(strings.TrimPrefix(h.Name, "package/lib/"), "/")
		if _, wanted := folders[folder]; !wanted || path.Ext(file) != ".js" {
			continue
		}
		text, err := sourceMap(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, err)
		}
		texts[folder] += text
	}
}

var mapLine = regexp.MustCompile(`sourceMappingURL=data:application/json;base64,(\S+)`)

// sourceMap is the text that a JavaScript file was made from.
func sourceMap(r io.Reader) (string, error) {
	js, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	m := mapLine.FindSubmatch(js)
	if m == nil {
		return "", errors.New("no source map inside: the package is of another make than this was written for")
	}
	raw, err := base64.StdEncoding.DecodeString(string(m[1]))
	if err != nil {
		return "", err
	}
	var sm struct {
		SourcesContent []string `json:"sourcesContent"`
	}
	if err := json.Unmarshal(raw, &sm); err != nil {
		return "", err
	}
	return strings.Join(sm.SourcesContent, "\n"), nil
}
