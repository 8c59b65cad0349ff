package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// Options says where Load looks. The zero value gives the defaults.
type Options struct {
	// File is the node file; empty means the one CAUSEWAY_CONFIG names, if any. There is no place
	// where a file is looked for unasked.
	File string
	// Flags are the flags of AddFlags; others in the set are passed over. May be nil.
	Flags *pflag.FlagSet
	// Env is the environment as os.Environ has it. May be nil.
	Env []string
}

// Load resolves the configuration and says of each value where it came from. The error joins every
// *Problem found in reading; what the values mean together is for Validate, which Load does not
// call, so that a configuration that cannot run can still be printed. On an error the Sources are
// nil too.
func Load(opts Options) (*Config, *Sources, error) {
	sources := &Sources{byKey: map[string]Source{}}
	l := &layer{values: map[string]any{}, sources: sources}
	if opts.File == "" {
		opts.File, _ = lookupEnv(opts.Env, envFile)
	}
	if opts.File != "" {
		data, err := readFile(opts.File)
		if err != nil {
			return nil, nil, err
		}
		l.parseFile(opts.File, data)
	}
	l.readEnv(opts.Env)
	cfg, err := merge(l, opts.Flags)
	if err != nil {
		return nil, nil, err
	}
	fillDefaults(cfg, sources)
	return cfg, sources, nil
}

// merge puts the flags over the layer of file and environment and decodes both into a Config that
// already holds the defaults.
func merge(l *layer, flags *pflag.FlagSet) (*Config, error) {
	v := viper.New()
	if err := v.MergeConfigMap(l.values); err != nil {
		return nil, fmt.Errorf("merge configuration: %w", err)
	}
	var bindErr error
	eachFlag(flags, func(d flagDef, flag *pflag.Flag) {
		bindErr = errors.Join(bindErr, v.BindPFlag(d.key, flag))
		l.sources.noteFlag(d, flag)
	})
	if bindErr != nil {
		return nil, fmt.Errorf("bind flags: %w", bindErr)
	}
	cfg := base()
	err := v.UnmarshalExact(cfg, func(dc *mapstructure.DecoderConfig) {
		dc.DecodeHook = decodeText
		dc.WeaklyTypedInput = false // decodeText is the only one to turn text into something else
	})
	if problems := append(l.problems, decodeProblems(err, l.sources)...); len(problems) > 0 {
		return nil, joinProblems(problems)
	}
	if err != nil {
		return nil, fmt.Errorf("decode configuration: %w", err)
	}
	return cfg, nil
}

// badValue is a text that is not of the key's form.
type badValue struct {
	text string
	want string
}

func (b *badValue) Error() string {
	if b.text == "" {
		return "is empty"
	}
	return strconv.Quote(b.text) + " is not accepted"
}

// decodeProblems gives decode errors their key and place.
func decodeProblems(err error, sources *Sources) []*Problem {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*Problem
		for _, e := range joined.Unwrap() {
			all = append(all, decodeProblems(e, sources)...)
		}
		return all
	}
	var at *mapstructure.DecodeError
	if !errors.As(err, &at) {
		return nil
	}
	if inner := decodeProblems(at.Unwrap(), sources); len(inner) > 0 {
		return inner // a list or section that holds the value at fault
	}
	p := &Problem{Key: at.Name(), Source: sources.nearestSet(at.Name()), What: at.Unwrap().Error()}
	var bad *badValue
	if errors.As(err, &bad) {
		p.What, p.Fix = bad.Error(), "want "+bad.want
	}
	return []*Problem{p}
}

// decodeText turns the text of a single value into the type of its key.
func decodeText(from, to reflect.Type, data any) (any, error) {
	if from.Kind() != reflect.String {
		return data, nil
	}
	text := data.(string)
	v, err := parseText(text, to)
	if err != nil {
		return nil, &badValue{text: text, want: form(to)}
	}
	return v, nil
}

func parseText(text string, to reflect.Type) (any, error) {
	switch to {
	case reflect.TypeFor[time.Duration]():
		return ParseDuration(text)
	case reflect.TypeFor[ByteSize]():
		return ParseByteSize(text)
	case reflect.TypeFor[Bandwidth]():
		return ParseBandwidth(text)
	case reflect.TypeFor[Rate]():
		return ParseRate(text)
	case listenerType:
		return parseShortListener(text)
	}
	switch to.Kind() {
	case reflect.Int:
		return strconv.Atoi(text)
	case reflect.Bool:
		switch text {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, strconv.ErrSyntax
	default:
		return text, nil
	}
}

var listenerType = reflect.TypeFor[Listener]()

// parseShortListener reads TYPE://HOST:PORT, or HOST:PORT for mqtt.
func parseShortListener(text string) (Listener, error) {
	kind, addr, typed := strings.Cut(text, "://")
	if !typed {
		kind, addr = string(ListenerMQTT), text
	}
	if addr == "" {
		return Listener{}, errors.New("no address")
	}
	return Listener{Type: ListenerType(kind), Listen: addr}, nil
}

// noteShortListener records where the parts of a short listener came from.
func (s *Sources) noteShortListener(text, key string, src Source) {
	s.set(key, src)
	s.set(key+".listen", src)
	if strings.Contains(text, "://") {
		s.set(key+".type", src)
	}
}
