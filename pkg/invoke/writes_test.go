package invoke

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// answers are answers and what they write. They seed the fuzz test as well.
var answers = []struct {
	name, answer string
	want         map[string]string
	err          error
}{
	{name: "object", answer: `{"a": {"x": [1, 2]}, "b": null}`, want: map[string]string{"a": `{"x":[1,2]}`, "b": "null"}},
	{name: "blanks around", answer: "\n\t {\"a\" : 1 }\r\n", want: map[string]string{"a": "1"}},
	{name: "no members", answer: "{}\n", want: map[string]string{}},
	{name: "numbers keep their digits", answer: `{"a":1.0,"b":1e400,"c":-0,"d":12345678901234567890.10}`, want: map[string]string{"a": "1.0", "b": "1e400", "c": "-0", "d": "12345678901234567890.10"}},
	{name: "strings keep their escapes", answer: `{"a":"\u00e9é<&>\/\u2028 \n"}`, want: map[string]string{"a": `"\u00e9é<&>\/\u2028 \n"`}},
	{name: "brackets and commas in strings", answer: `{"a":"}],:\"{","}":["{"],"\\":1,"\\\"":2}`, want: map[string]string{"a": `"}],:\"{"`, "}": `["{"]`, `\`: "1", `\"`: "2"}},
	{name: "names are decoded", answer: `{"\u0061\n\ud83d\udc04\/":1}`, want: map[string]string{"a\n\U0001F404/": "1"}},
	{name: "the last of a name counts", answer: `{"a":1,"b":2,"\u0061":3}`, want: map[string]string{"a": "3", "b": "2"}},
	{name: "empty name", answer: `{"":1}`, want: map[string]string{"": "1"}},
	{name: "half a surrogate pair in a value", answer: `{"a":"\ud83d"}`, want: map[string]string{"a": `"\ud83d"`}},
	{name: "the replacement character in a name", answer: `{"\ufffd�":1}`, want: map[string]string{"��": "1"}},

	{name: "switch off", answer: `{"a":1,"OUTPUT_TO_HEAP":false}`},
	{name: "switch off, spelled otherwise", answer: `{"OUTPUT\u005fTO_HEAP": false ,"a":1}`},
	{name: "switch true", answer: `{"OUTPUT_TO_HEAP":true}`, want: map[string]string{"OUTPUT_TO_HEAP": "true"}},
	{name: "switch null", answer: `{"OUTPUT_TO_HEAP":null}`, want: map[string]string{"OUTPUT_TO_HEAP": "null"}},
	{name: "switch zero", answer: `{"OUTPUT_TO_HEAP":0}`, want: map[string]string{"OUTPUT_TO_HEAP": "0"}},
	{name: "switch as text", answer: `{"OUTPUT_TO_HEAP":"false"}`, want: map[string]string{"OUTPUT_TO_HEAP": `"false"`}},
	{name: "switch deeper", answer: `{"a":{"OUTPUT_TO_HEAP":false}}`, want: map[string]string{"a": `{"OUTPUT_TO_HEAP":false}`}},
	{name: "switch off, then on", answer: `{"OUTPUT_TO_HEAP":false,"OUTPUT_TO_HEAP":1}`, want: map[string]string{"OUTPUT_TO_HEAP": "1"}},
	{name: "switch in another case", answer: `{"output_to_heap":false}`, want: map[string]string{"output_to_heap": "false"}},

	{name: "text", answer: "bacon\n", want: raw(`"bacon\n"`)},
	{name: "nothing", answer: "", want: raw(`""`)},
	{name: "blanks", answer: " \n", want: raw(`" \n"`)},
	{name: "array", answer: "[1, 2]\n", want: raw(`"[1, 2]\n"`)},
	{name: "number", answer: "7", want: raw(`"7"`)},
	{name: "JSON string", answer: `"hello"` + "\n", want: raw(`"\"hello\"\n"`)},
	{name: "null", answer: "null", want: raw(`"null"`)},
	{name: "NaN", answer: `{"a":NaN}`, want: raw(`"{\"a\":NaN}"`)},
	{name: "two objects", answer: `{"a":1}{"b":2}`, want: raw(`"{\"a\":1}{\"b\":2}"`)},
	{name: "half an object", answer: `{"a":1`, want: raw(`"{\"a\":1"`)},
	{name: "comma at the end", answer: `{"a":1,}`, want: raw(`"{\"a\":1,}"`)},
	{name: "byte order mark", answer: "\ufeff{}", want: raw("\"\ufeff{}\"")},
	{name: "markup", answer: "<b>&</b>", want: raw(`"<b>&</b>"`)},
	{name: "control characters", answer: "\x00\x1b[31m\x7f", want: raw(`"\u0000\u001b[31m` + "\x7f" + `"`)},
	{name: "a cow", answer: "\U0001F404", want: raw("\"\U0001F404\"")},

	{name: "text that is not UTF-8", answer: "caf\xe9", err: ErrUnstorable},
	{name: "object that is not UTF-8", answer: "{\"a\":\"caf\xe9\"}", err: ErrUnstorable},
	{name: "first half of a pair in a name", answer: `{"a":1,"\ud83d":2}`, err: ErrUnstorable},
	{name: "second half of a pair in a name", answer: `{"\uDC04":2}`, err: ErrUnstorable},
	{name: "halves in the wrong order", answer: `{"\udc04\ud83d":2}`, err: ErrUnstorable},
	{name: "half a pair before an escape", answer: `{"\ud83d\ndc04":2}`, err: ErrUnstorable},
	{name: "an escaped backslash is no half", answer: `{"\\ud83d":2}`, want: map[string]string{`\ud83d`: "2"}},
}

func raw(value string) map[string]string { return map[string]string{"rawResponse": value} }

func TestParseAnswer(t *testing.T) {
	for _, test := range answers {
		t.Run(test.name, func(t *testing.T) {
			got, err := parsed(t, []byte(test.answer))
			if !errors.Is(err, test.err) || !maps.Equal(got, test.want) {
				t.Errorf("got %q, %v, want %q, %v", got, err, test.want, test.err)
			}
		})
	}
}

// parsed checks that no key comes twice.
func parsed(t *testing.T, answer []byte) (map[string]string, error) {
	writes, err := parseAnswer(answer)
	got := map[string]string{}
	for _, w := range writes {
		if _, twice := got[w.Key]; twice {
			t.Errorf("key %q comes twice", w.Key)
		}
		got[w.Key] = string(w.Value)
	}
	return got, err
}

func TestParseAnswer_Depth(t *testing.T) {
	nested := func(depth int) string {
		return `{"a":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`
	}
	for _, test := range []struct {
		depth int
		key   string
	}{
		{9_999, "a"},
		{10_000, "rawResponse"},
		{1_000_000, "rawResponse"},
	} {
		t.Run(fmt.Sprint(test.depth), func(t *testing.T) {
			writes, err := parseAnswer([]byte(nested(test.depth)))
			if err != nil || len(writes) != 1 || writes[0].Key != test.key {
				t.Errorf("%d writes, %v, want one of %q", len(writes), err, test.key)
			}
		})
	}
}

func TestParseAnswer_Members(t *testing.T) {
	members := func(n int) []byte {
		answer := []byte("{")
		for i := range n {
			answer = fmt.Appendf(answer, `"%d":1,`, i)
		}
		return append(answer, `"0":2}`...) // once more, which makes no key
	}
	if writes, err := parseAnswer(members(maxMembers)); err != nil || len(writes) != maxMembers || string(writes[0].Value) != "2" {
		t.Errorf("%d members give %d writes, %v", maxMembers, len(writes), err)
	}
	if _, err := parseAnswer(members(maxMembers + 1)); !errors.Is(err, ErrAnswerTooLarge) {
		t.Errorf("one more gives %v, want ErrAnswerTooLarge", err)
	}
}

// FuzzParseAnswer compares with what encoding/json makes of the same answer.
func FuzzParseAnswer(f *testing.F) {
	for _, test := range answers {
		f.Add([]byte(test.answer))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		got, err := parsed(t, answer)
		switch {
		case err != nil:
			if utf8.Valid(answer) && !bytes.Contains(bytes.ToLower(answer), []byte(`\ud`)) {
				t.Errorf("%q is refused: %v", answer, err)
			}
		case !utf8.Valid(answer):
			t.Errorf("%q is not UTF-8 and gives %q", answer, got)
		case !maps.Equal(got, wanted(t, answer)):
			t.Errorf("%q gives %q, want %q", answer, got, wanted(t, answer))
		}
	})
}

// wanted is the slow way to what a storable answer writes.
func wanted(t *testing.T, answer []byte) map[string]string {
	want := map[string]string{}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(answer, &members); err != nil || members == nil {
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(string(answer)); err != nil {
			t.Fatal(err)
		}
		return raw(strings.TrimSuffix(text.String(), "\n"))
	}
	for name, value := range members {
		var compact bytes.Buffer
		if err := json.Compact(&compact, value); err != nil {
			t.Fatal(err)
		}
		want[name] = compact.String()
	}
	if want[heapSwitch] == "false" {
		return nil
	}
	return want
}

// BenchmarkParseAnswer shows that time is linear: its throughput depends neither on the size nor on the shape.
func BenchmarkParseAnswer(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 19} {
		for name, unit := range map[string]string{
			"members":  `"account-%d":{"balance": 1000},`,
			"brackets": `"%d":[[[[[[[[[[[[]]]]]]]]]]]],`,
			"quotes":   `"%d":"\"\"\"\"\"\"\"\"\"\"",`,
		} {
			b.Run(fmt.Sprintf("%s/%dKiB", name, size>>10), func(b *testing.B) {
				answer := []byte("{")
				for i := 0; len(answer) < size; i++ {
					answer = fmt.Appendf(answer, unit, i)
				}
				answer[len(answer)-1] = '}'
				b.SetBytes(int64(len(answer)))
				b.ReportAllocs()
				for b.Loop() {
					if writes, err := parseAnswer(answer); err != nil || len(writes) < 2 {
						b.Fatal(len(writes), err)
					}
				}
			})
		}
	}
}

func TestParseAnswer_OrderOfTheAnswer(t *testing.T) {
	writes, err := parseAnswer([]byte(`{"b":1,"a":2,"c":3,"b":4}`))
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, w := range writes {
		keys = append(keys, w.Key)
	}
	if want := []string{"b", "a", "c"}; !slices.Equal(keys, want) {
		t.Errorf("keys %q, want %q", keys, want)
	}
}
