package broker

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// What argon2id may cost: a hash that asks for more would take a node down at each CONNECT.
const (
	maxArgonMemory = 256 << 10 // KiB
	maxArgonTime   = 16
	maxArgonLanes  = 16
)

// argon is a hash in the form $argon2id$v=19$m=65536,t=3,p=4$SALT$KEY.
type argon struct {
	memory, time uint32
	lanes        uint8
	salt, key    []byte
}

const argonPrefix = "$argon2id$"

func parseArgon(text string) (h argon, err error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return h, errors.New("want $argon2id$v=19$m=KIB,t=TIMES,p=LANES$SALT$KEY")
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.lanes); err != nil || n != 3 {
		return h, errors.New("want m=KIB,t=TIMES,p=LANES in an argon2id hash")
	}
	if h.memory < 8 || h.memory > maxArgonMemory || h.time < 1 || h.time > maxArgonTime || h.lanes < 1 || h.lanes > maxArgonLanes {
		return h, fmt.Errorf("an argon2id hash asks for m=%d,t=%d,p=%d; at most m=%d,t=%d,p=%d are taken", h.memory, h.time, h.lanes, maxArgonMemory, maxArgonTime, maxArgonLanes)
	}
	if h.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err == nil {
		h.key, err = base64.RawStdEncoding.DecodeString(parts[5])
	}
	if err != nil || len(h.salt) < 8 || len(h.key) < 16 || len(h.salt) > 64 || len(h.key) > 64 {
		return h, errors.New("the salt or the key of an argon2id hash is no base64 of a sensible length")
	}
	return h, nil
}

// ValidHash checks a hash of a password: bcrypt, or argon2id in its usual form.
func ValidHash(text string) error {
	if strings.HasPrefix(text, argonPrefix) {
		_, err := parseArgon(text)
		return err
	}
	if _, err := bcrypt.Cost([]byte(text)); err != nil || len(text) != 60 {
		return errors.New("it is neither a bcrypt hash nor one of argon2id")
	}
	return nil
}

// HashPassword makes a hash of a password.
func HashPassword(password []byte) (string, error) {
	if len(password) > 72 { // all that bcrypt looks at
		salt := make([]byte, 16)
		_, _ = rand.Read(salt) // never fails
		h := argon{memory: 64 << 10, time: 1, lanes: 4, salt: salt}
		h.key = argon2.IDKey(password, h.salt, h.time, h.memory, h.lanes, 32)
		b64 := base64.RawStdEncoding.EncodeToString
		return fmt.Sprintf("%sv=%d$m=%d,t=%d,p=%d$%s$%s", argonPrefix, argon2.Version, h.memory, h.time, h.lanes, b64(h.salt), b64(h.key)), nil
	}
	b, err := bcrypt.GenerateFromPassword(password, bcrypt.DefaultCost)
	return string(b), err
}

// MatchesHash says whether a password is the one of a hash.
func MatchesHash(hash string, password []byte) bool { return matches([]byte(hash), password) }

func matches(hash, password []byte) bool {
	if !strings.HasPrefix(string(hash), argonPrefix) {
		return bcrypt.CompareHashAndPassword(hash, password) == nil
	}
	h, err := parseArgon(string(hash))
	if err != nil {
		return false
	}
	key := argon2.IDKey(password, h.salt, h.time, h.memory, h.lanes, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(key, h.key) == 1
}
