#include "JsonGrammar.h"

#include <bitset>

#include "../ModelError.h"

namespace FPForcePlugin {

namespace {

bool isDigit(char c) {
    return c >= '0' && c <= '9';
}

/** Checks a text against the grammar, with the open brackets in a bitset instead of recursion. */
class Grammar {
public:
    Grammar(std::string_view text, const std::string& entry) : text_(text), entry_(entry) {
    }

    void check() {
        for (;;) {
            value();
            if (!another())
                return;
        }
    }

private:
    [[noreturn]] void fail(const std::string& wanted) const {
        const std::string found = at_ < text_.size() ? quoted(text_.substr(at_, 1)) : "the end";
        throw ModelError(entry_ + " is not JSON: " + found + " at byte " + std::to_string(at_) + " of " + std::to_string(text_.size()) +
                         ", expected " + wanted + "; export the model again");
    }

    char peek() const {
        return at_ < text_.size() ? text_[at_] : '\0';
    }

    bool take(char c) {
        const bool found = at_ < text_.size() && text_[at_] == c;
        at_ += found ? 1 : 0;
        return found;
    }

    void skipSpace() {
        while (at_ < text_.size() && isJsonSpace(text_[at_]))
            ++at_;
    }

    /** One value; of an array or object only what precedes its first value, unless it is empty. */
    void value() {
        for (;;) {
            skipSpace();
            const char c = peek();
            if (c == '{' || c == '[') {
                if (depth_ == deepestJson)
                    fail("at most " + std::to_string(deepestJson) + " nested brackets");
                isObject_[depth_++] = c == '{';
                ++at_;
                skipSpace();
                if (peek() == (c == '{' ? '}' : ']'))
                    return;
                if (c == '{')
                    name();
                continue;
            }
            if (c == '"')
                string();
            else if (c == '-' || isDigit(c))
                number();
            else if (!literal("true") && !literal("false") && !literal("null"))
                fail("a value");
            return;
        }
    }

    /** Steps over closing brackets and a comma to the next value; false at the end of the text. */
    bool another() {
        for (;;) {
            skipSpace();
            if (depth_ == 0) {
                if (at_ < text_.size())
                    fail("the end");
                return false;
            }
            const bool object = isObject_[depth_ - 1];
            if (take(object ? '}' : ']')) {
                --depth_;
                continue;
            }
            if (!take(','))
                fail(object ? "',' or '}'" : "',' or ']'");
            if (object) {
                skipSpace();
                name();
            }
            return true;
        }
    }

    void name() {
        if (peek() != '"')
            fail("a name in double quotes");
        string();
        skipSpace();
        if (!take(':'))
            fail("':'");
    }

    bool literal(std::string_view word) {
        const bool found = text_.substr(at_, word.size()) == word;
        at_ += found ? word.size() : 0;
        return found;
    }

    void string() {
        ++at_;
        while (!take('"')) {
            if (at_ == text_.size())
                fail("'\"'");
            if (static_cast<unsigned char>(text_[at_]) < 0x20)
                fail("no control character in a string");
            if (!take('\\')) {
                ++at_;
            } else if (take('u')) {
                if (fourHexDigits(text_.substr(at_)) < 0)
                    fail("four hexadecimal digits");
                at_ += 4;
            } else {
                if (peek() == '\0' || std::string_view("\"\\/bfnrt").find(peek()) == std::string_view::npos)
                    fail("an escape sequence");
                ++at_;
            }
        }
    }

    void digits() {
        if (!isDigit(peek()))
            fail("a digit");
        while (isDigit(peek()))
            ++at_;
    }

    void number() {
        take('-');
        if (!take('0'))
            digits();
        if (take('.'))
            digits();
        if (take('e') || take('E')) {
            if (!take('+'))
                take('-');
            digits();
        }
    }

    const std::string_view text_;
    const std::string& entry_;
    std::size_t at_ = 0;
    std::bitset<deepestJson> isObject_;
    std::size_t depth_ = 0;
};

}  // namespace

void checkJson(std::string_view text, const std::string& entry) {
    Grammar(text, entry).check();
}

int fourHexDigits(std::string_view text) {
    int value = 0;
    for (const char c : text.substr(0, 4)) {
        const int letter = c | 0x20;
        if (!isDigit(c) && (letter < 'a' || letter > 'f'))
            return -1;
        value = 16 * value + (isDigit(c) ? c - '0' : letter - 'a' + 10);
    }
    return text.size() < 4 ? -1 : value;
}

}  // namespace FPForcePlugin
