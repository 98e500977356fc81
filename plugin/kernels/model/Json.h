#ifndef FPFORCE_MODEL_JSON_H_
#define FPFORCE_MODEL_JSON_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace FPForcePlugin {

/**
 * A value inside a JSON text (RFC 8259), or the absence of one.
 *
 * `parse` checks the whole text once; values are then views of it that find their contents by scanning. So nothing is
 * allocated, whatever the text holds, but a value must not outlive the text. Of several members with one name the last
 * counts, as for Python's json, which reads the same file. Strings are passed through as they are, escapes decoded to
 * UTF-8, with U+FFFD for half a surrogate pair (which Python writes for a file name that is not UTF-8).
 */
class Json {
public:
    enum class Type { Absent, Null, Boolean, Number, String, Array, Object };

    /** An absent value. */
    Json() = default;
    /** The value that is the whole text. Throws ModelError, with `entry` and the byte at fault, unless it is JSON. */
    static Json parse(std::string_view text, const std::string& entry);
    /** The same for a text that `parse` has accepted before. */
    static Json parsedBefore(std::string_view text);

    Type type() const;
    /** What the value is, for error messages: "null", "a number", ... */
    const char* typeName() const;

    /** The member of an object, absent if there is none or this is no object. */
    Json member(std::string_view name) const;
    /** Calls visit(Json) for each element of an array; for another value, never. */
    template <class Visit>
    void forEachElement(Visit visit) const;
    /** Calls visit(std::string name, Json) for each member of an object, in order; for another value, never. */
    template <class Visit>
    void forEachMember(Visit visit) const;

    bool isTrue() const;
    /** The number as a double; false if this is no number, or one out of a double's range. */
    bool toDouble(double& value) const;
    /** The number if it is written as an integer of 64 bits: exact. */
    bool toInteger(std::int64_t& value) const;
    /** A string's contents, empty for another value. */
    std::string toText() const;

private:
    explicit Json(std::string_view text) : text_(text) {
    }
    /** Steps through the items of an array or object from `position`, 0 at first; false after the last. */
    bool next(std::size_t& position, Json& name, Json& value) const;

    std::string_view text_;  // exactly the value, without space around it; empty: absent
};

template <class Visit>
void Json::forEachElement(Visit visit) const {
    Json name, value;
    for (std::size_t position = 0; type() == Type::Array && next(position, name, value);)
        visit(value);
}

template <class Visit>
void Json::forEachMember(Visit visit) const {
    Json name, value;
    for (std::size_t position = 0; type() == Type::Object && next(position, name, value);)
        visit(name.toText(), value);
}

}  // namespace FPForcePlugin

#endif
