package terraform

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fault is a mistake in a module, and what terraform says of it.
type fault struct{ name, file, old, with, says string }

// Each kind of mistake that a schema can show is one in each cloud. Wrong values are none of these: see the package comment of
// ../schema.
var faults = map[string][]fault{
	"aws": {
		{"wrong name", "nodes.tf", "encrypted         = true", "encripted = true", `"encripted" is not expected here`},
		{"wrong type", "nodes.tf", "encrypted         = true", `encrypted = "perhaps"`, "a bool is required"},
		{"missing", "nodes.tf", "availability_zone = each.value", "", `"availability_zone" is required`},
		{"unknown block", "nodes.tf", "metadata_options {", "metadata_option {", `"metadata_option" are not expected here`},
		{"unknown resource", "nodes.tf", `"aws_volume_attachment"`, `"aws_volume_attachement"`, `does not support resource type`},
		{"name in a nested block", "nodes.tf", "http_tokens  ", "https_tokens  ", `"https_tokens" is not expected here`},
		{"attribute that is read", "balancer.tf", "= aws_lb.devices[0].arn", "= aws_lb.devices[0].anr", `no argument, nested block, or exported attribute named "anr"`},
	},
	"gcp": {
		{"wrong name", "nodes.tf", `type     = "pd-ssd"`, `kind = "pd-ssd"`, `"kind" is not expected here`},
		{"wrong type", "balancer.tf", "check_interval_sec  = 2", `check_interval_sec = "often"`, "a number is required"},
		{"missing", "nodes.tf", "machine_type              = var.cores.machine", "", `"machine_type" is required`},
		{"unknown block", "nodes.tf", "attached_disk {", "data_disk {", `"data_disk" are not expected here`},
		{"missing block", "nodes.tf", "boot_disk {\n    initialize_params { image = local.image }\n  }", "", `At least 1 "boot_disk" blocks are required`},
	},
	"azure": {
		{"wrong name", "nodes.tf", "lun                = 0", "lun_number = 0", `"lun_number" is not expected here`},
		{"wrong type", "nodes.tf", "lun                = 0", `lun = "first"`, "a number is required"},
		{"missing", "nodes.tf", `caching            = "None"`, "", `"caching" is required`},
		{"unknown block", "nodes.tf", "admin_ssh_key {", "ssh_key {", `"ssh_key" are not expected here`},
	},
}

func TestFaults_AreFound(t *testing.T) {
	tl := newTool(t)
	dir := tl.copy(t)
	for cloud, list := range faults {
		module := filepath.Join(dir, cloud)
		tl.init(t, module)
		for _, f := range list {
			t.Run(cloud+" "+f.name, func(t *testing.T) {
				file := filepath.Join(module, f.file)
				sound, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				broken := strings.Replace(string(sound), f.old, f.with, 1)
				if broken == string(sound) {
					t.Fatalf("there is no %q in %s to plant the fault at", f.old, f.file)
				}
				if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
					t.Fatal(err)
				}
				defer os.WriteFile(file, sound, 0o600)
				if _, err := tl.run(module, "validate"); err == nil || !strings.Contains(err.Error(), f.says) {
					t.Errorf("terraform says %v, want %q", err, f.says)
				}
			})
		}
	}
}
