"""Writes src/tokenizer/unicode_tables.cpp: what the Python `tokenizers` knows of each code point, asked of it live.

    python tests/parity/tools/make_unicode_tables.py > src/tokenizer/unicode_tables.cpp

Its parts come from different versions of Unicode (Oniguruma for regexes, Rust's standard library for white space, digits and
lower case, older crates for normal forms and punctuation), so each property is measured by itself.
"""
import ctypes
import ctypes.util

from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = ["Cn", "Cc", "Cf", "Co", "Ll", "Lm", "Lo", "Lt", "Lu", "Mc", "Me", "Mn", "Nd", "Nl", "No",
              "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sc", "Sk", "Sm", "So", "Zl", "Zp", "Zs"]
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CHUNK = 20_000
STABLE, COMPAT, COMPOSE, DECOMPOSE = 2, 4, 8, 16


def removed_by(pre_tokenizer):
    """The code points that a pre-tokenizer of behaviour "removed" takes out of a text that holds them all."""
    kept = set()
    for start in range(0, len(CODE_POINTS), CHUNK):
        text = "".join(map(chr, CODE_POINTS[start:start + CHUNK]))
        for piece, _ in pre_tokenizer.pre_tokenize_str(text):
            kept.update(map(ord, piece))
    return set(CODE_POINTS) - kept


def matched(pattern):
    return removed_by(pre_tokenizers.Split(Regex(pattern), "removed"))


def words_of_rust():
    """Code points that the Rust crate `regex` counts as \\w: they join their neighbours in `\\w+|[^\\w\\s]+`."""
    split = pre_tokenizers.Whitespace()
    words = set()
    for start in range(0, len(CODE_POINTS), CHUNK):
        text = " ".join(f"a{chr(c)}a" for c in CODE_POINTS[start:start + CHUNK])
        words.update(ord(piece[1]) for piece, _ in split.pre_tokenize_str(text) if len(piece) == 3 and piece[0] == "a")
    return words


def numeric_of_rust():
    split = pre_tokenizers.Digits(individual_digits=False)
    return {c for c in CODE_POINTS if len(split.pre_tokenize_str(f"a{chr(c)}a")) == 3}


class Utf8proc:
    def __init__(self):
        self.library = ctypes.CDLL(ctypes.util.find_library("utf8proc"))
        self.library.utf8proc_map.restype = ctypes.c_ssize_t
        self.library.utf8proc_tolower.restype = ctypes.c_int32
        self.libc = ctypes.CDLL(None)

    def map(self, text, options):
        data, out = text.encode(), ctypes.c_void_p()
        size = self.library.utf8proc_map(data, ctypes.c_ssize_t(len(data)), ctypes.byref(out), STABLE | options)
        result = ctypes.string_at(out, size).decode()
        self.libc.free(out)
        return result

    def lower(self, code_point):
        return chr(self.library.utf8proc_tolower(code_point))


def inert(utf8proc):
    """Code points that `tokenizers` leaves alone in normal forms, but a newer Unicode does not."""
    forms = [(normalizers.NFD(), DECOMPOSE), (normalizers.NFKD(), DECOMPOSE | COMPAT), (normalizers.NFC(), COMPOSE),
             (normalizers.NFKC(), COMPOSE | COMPAT)]
    found = {c for c in CODE_POINTS for form, options in forms
             if form.normalize_str(chr(c)) != utf8proc.map(chr(c), options)}
    nfd = normalizers.NFD()
    for c in CODE_POINTS:
        probe = "a\u0301" + chr(c) + "\u0334"
        if nfd.normalize_str(probe) != utf8proc.map(probe, DECOMPOSE):
            found.add(c)
    for c in list(found):  # the second halves of compositions that `tokenizers` does not know
        pair = utf8proc.map(chr(c), DECOMPOSE)
        if len(pair) == 2 and normalizers.NFC().normalize_str(pair) != utf8proc.map(pair, COMPOSE):
            found.add(ord(pair[1]))
    return found


def main():
    flags = dict.fromkeys(CODE_POINTS, 0)
    for index, category in enumerate(CATEGORIES):
        if index:
            for c in matched(rf"\p{{{category}}}"):
                flags[c] = index
    utf8proc = Utf8proc()
    marks = normalizers.StripAccents()
    properties = [matched(r"\w"), words_of_rust(), removed_by(pre_tokenizers.Punctuation("removed")), numeric_of_rust(),
                  removed_by(pre_tokenizers.WhitespaceSplit()),
                  {c for c in CODE_POINTS if marks.normalize_str(chr(c)) == ""}, inert(utf8proc)]
    for bit, members in enumerate(properties):
        for c in members:
            flags[c] |= 1 << (5 + bit)
    runs, previous = [], None
    for c in CODE_POINTS:
        if flags[c] != previous:
            runs.append((c, flags[c]))
            previous = flags[c]
    lower = normalizers.Lowercase()
    overrides = [(c, [ord(x) for x in lower.normalize_str(chr(c))]) for c in CODE_POINTS
                 if lower.normalize_str(chr(c)) != utf8proc.lower(c)]
    print("// What the Python `tokenizers` knows of each code point. Written by tests/parity/tools/make_unicode_tables.py.")
    print('#include "tokenizer/unicode_tables.hpp"\n')
    print("namespace lorica::tokenizer {\n\n// clang-format off")
    print("const UnicodeRun kUnicodeRuns[] = {")
    line = ""
    for c, f in runs:
        item = f"{{{c:#x},{f}}},"
        if len(line) + len(item) > 118:
            print(line)
            line = ""
        line += item
    print(line + "\n};")
    print(f"const std::size_t kUnicodeRunCount = {len(runs)};\n")
    print("const LowercaseOverride kLowercaseOverrides[] = {")
    for c, to in overrides:
        print(f"{{{c:#x},{{{','.join(hex(x) for x in (to + [0, 0])[:2])}}}}},")
    print("};")
    print(f"const std::size_t kLowercaseOverrideCount = {len(overrides)};")
    print("// clang-format on\n\n}  // namespace lorica::tokenizer")


main()
