package boot

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cloudDir is set in the process that stands in for the clouds: the folder with a file NAME for each secret, and the package.
const cloudDir = "CAUSEWAY_TEST_CLOUD"

// TestMain runs the tests or, in the network of the machines, the clouds.
func TestMain(m *testing.M) {
	if dir := os.Getenv(cloudDir); dir != "" {
		fmt.Fprintln(os.Stderr, http.ListenAndServe(metadata+":80", cloud(dir)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// startCloud runs the stand-ins in the machines' network.
func startCloud(l *lan, dir string) {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := l.command(self)
	cmd.Env = append(os.Environ(), cloudDir+"="+dir)
	l.start(cmd, "cloud")
	await(l.t, "the clouds answer", func() error {
		return l.command("curl", "-fsS", "-o", "/dev/null", "http://"+metadata+"/").Run()
	})
}

// cloud answers as the metadata services and secret stores of AWS, Google and Azure do, and serves the package. Each wants what
// the real one wants before it tells a secret.
func cloud(dir string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/causeway.deb", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, filepath.Join(dir, "causeway.deb")) })
	secret := func(w http.ResponseWriter, name string, wrap func(string) any) {
		text, err := os.ReadFile(filepath.Join(dir, "secrets", filepath.Base(name)))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(wrap(string(text)))
	}
	aws(mux, secret)
	gcp(mux, secret)
	azure(mux, secret)
	route53(mux, dir)
	return mux
}

type tell func(w http.ResponseWriter, name string, wrap func(string) any)

// want refuses requests without a header that begins with value.
func want(header, value string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get(header), value) {
			http.Error(w, fmt.Sprintf("%s is %q, want %s", header, r.Header.Get(header), value), http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}

func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

// aws: IMDSv2 (a token by PUT, then asked for everywhere) and a signed GetSecretValue.
func aws(mux *http.ServeMux, secret tell) {
	token := func(next http.HandlerFunc) http.HandlerFunc { return want("X-aws-ec2-metadata-token", "session", next) }
	mux.HandleFunc("PUT /latest/api/token", want("X-aws-ec2-metadata-token-ttl-seconds", "60", say("session")))
	mux.HandleFunc("GET /latest/meta-data/placement/region", token(say("eu-central-1")))
	mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/{$}", token(say("causeway")))
	mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/causeway", token(say(`{"AccessKeyId":"AKID","SecretAccessKey":"sec/ret","Token":"session=="}`)))
	mux.HandleFunc("POST /aws/", want("Authorization", "AWS4-HMAC-SHA256 Credential=AKID/", want("X-Amz-Security-Token", "session==",
		want("X-Amz-Target", "secretsmanager.GetSecretValue", func(w http.ResponseWriter, r *http.Request) {
			var ask struct {
				SecretID string `json:"SecretId"`
			}
			if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			secret(w, strings.TrimPrefix(ask.SecretID, "causeway/"), func(s string) any { return map[string]string{"SecretString": s} })
		}))))
}

// route53 notes what it is asked about a health check, signed by the machine's role, in the file route53.
func route53(mux *http.ServeMux, dir string) {
	mux.HandleFunc("/route53/2013-04-01/healthcheck/{id}", want("Authorization", "AWS4-HMAC-SHA256 Credential=AKID/", want("X-Amz-Security-Token", "session==",
		func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "route53"), fmt.Appendf(nil, "%s %s %s", r.Method, r.PathValue("id"), body), 0o600)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})))
}

// gcp: a token of the service account and the newest version's payload.
func gcp(mux *http.ServeMux, secret tell) {
	google := func(next http.HandlerFunc) http.HandlerFunc { return want("Metadata-Flavor", "Google", next) }
	mux.HandleFunc("GET /computeMetadata/v1/project/project-id", google(say("example")))
	mux.HandleFunc("GET /computeMetadata/v1/instance/service-accounts/default/token", google(say(`{"access_token":"google"}`)))
	mux.HandleFunc("GET /gcp/v1/projects/example/secrets/{name}/versions/latest:access", want("Authorization", "Bearer google", func(w http.ResponseWriter, r *http.Request) {
		secret(w, strings.TrimPrefix(r.PathValue("name"), "causeway-"), func(s string) any {
			return map[string]any{"payload": map[string]string{"data": base64.StdEncoding.EncodeToString([]byte(s))}}
		})
	}))
}

// azure: a token of the machine's identity for the vault, and the secret's value.
func azure(mux *http.ServeMux, secret tell) {
	mux.HandleFunc("GET /metadata/identity/oauth2/token", want("Metadata", "true", say(`{"access_token":"azure"}`)))
	mux.HandleFunc("GET /azure/secrets/{name}", want("Authorization", "Bearer azure", func(w http.ResponseWriter, r *http.Request) {
		secret(w, r.PathValue("name"), func(s string) any { return map[string]string{"value": s} })
	}))
}

// stores are the scripts by which machines read the stores, sent to the stand-ins. AWS's signature covers the path.
func stores(t *testing.T) []string {
	t.Helper()
	var texts []string
	for _, cloud := range []string{"aws", "gcp", "azure"} {
		name := "../../terraform/" + cloud + "/store.sh"
		if cloud == "azure" {
			name += ".tftpl"
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		// Azure's is a template with the vault's address in it.
		script := strings.NewReplacer("$${", "${", ":-${vault}", ":-https://vault").Replace(string(text))
		texts = append(texts, fmt.Sprintf("SECRETS=http://%s/%s\n%s", metadata, cloud, script))
	}
	return texts
}
