package boot

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	names(mux, dir)
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

// names notes what it is asked about the devices' name by whom, in the file names: Route 53's health checks, signed by the
// machine's role, Cloud DNS's record set, and the endpoints of Traffic Manager.
func names(mux *http.ServeMux, dir string) {
	var mu sync.Mutex
	note := func(w http.ResponseWriter, r *http.Request, line string) (body []byte) {
		mu.Lock()
		defer mu.Unlock()
		body, err := io.ReadAll(r.Body)
		if err == nil {
			var f *os.File
			if f, err = os.OpenFile(filepath.Join(dir, "names"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
				_, err = fmt.Fprintf(f, "%s %s%s\n", r.Method, line, body)
				err = errors.Join(err, f.Close())
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
		return body
	}
	who := func(r *http.Request) string { return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") }
	mux.HandleFunc("/names/aws/2013-04-01/healthcheck/{id}", want("Authorization", "AWS4-HMAC-SHA256 Credential=AKID/", want("X-Amz-Security-Token", "session==",
		func(w http.ResponseWriter, r *http.Request) { note(w, r, r.PathValue("id")+" ") })))
	set := `{"name":"mqtt.example.com.","type":"A","ttl":30,"routingPolicy":{"geo":{"items":[{"location":"us-east1"},{"location":"europe-west3"}]}}}`
	mux.HandleFunc("GET /names/gcp/dns/v1/projects/example/managedZones/devices/rrsets/{name}/A", want("Authorization", "Bearer ", func(w http.ResponseWriter, r *http.Request) {
		note(w, r, r.PathValue("name")+" "+who(r))
		fmt.Fprint(w, set)
	}))
	mux.HandleFunc("POST /names/gcp/dns/v1/projects/example/managedZones/devices/changes", want("Authorization", "Bearer ", func(w http.ResponseWriter, r *http.Request) {
		body := note(w, r, "")
		var change struct{ Deletions, Additions []json.RawMessage }
		if err := json.Unmarshal(body, &change); err != nil || len(change.Additions) != 1 || string(change.Deletions[0]) != set {
			http.Error(w, "the record set is another one", http.StatusPreconditionFailed)
			return
		}
		set = string(change.Additions[0])
	}))
	mux.HandleFunc("/names/azure/profile/{id}", want("Authorization", "Bearer ", func(w http.ResponseWriter, r *http.Request) {
		note(w, r, r.PathValue("id")+" "+who(r)+" ")
	}))
	mux.HandleFunc("POST /login/tenant/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("client_id") != "client" || r.FormValue("client_secret") != "s3cret" || r.FormValue("grant_type") != "client_credentials" {
			http.Error(w, "no such application", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"access_token":"application"}`)
	})
	mux.HandleFunc("POST /login/google", func(w http.ResponseWriter, r *http.Request) {
		der, err := os.ReadFile(filepath.Join(dir, accountKey))
		if err == nil {
			err = signedBy(der, r.FormValue("assertion"))
		}
		if err != nil {
			http.Error(w, "not signed by the account: "+err.Error(), http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"access_token":"account"}`)
	})
}

// accountKey is the file with the public key of a service account.
const accountKey = "account.der"

// signedBy checks a JSON Web Token that is signed with RS256.
func signedBy(der []byte, jwt string) error {
	key, err := x509.ParsePKCS1PublicKey(der)
	if err != nil {
		return err
	}
	dot := max(0, strings.LastIndexByte(jwt, '.'))
	signature, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(jwt[dot:], "."))
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(jwt[:dot]))
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature)
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
