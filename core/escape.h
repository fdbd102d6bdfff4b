// File names come from hostile guests: any byte but '/' and NUL. What a person or a browser reads is escaped
// here and nowhere else. (JSON output escapes through nlohmann-json with invalid UTF-8 replaced: see
// json_text.)
#pragma once

#include <string>
#include <string_view>

namespace vs {

// For terminals and logs: printable UTF-8 stays; control characters, DEL, backslash, invalid UTF-8 and the
// Unicode bidirectional controls become \xNN (or \n, \t). The result never holds an escape character or a
// line break.
std::string escaped(std::string_view text);

// The bytes that `escaped` was made from; nothing for a malformed escape. escaped(x) -> x for every x.
bool unescape(std::string_view text, std::string& bytes);

// For HTML text and attribute values (quotes included); first escaped() and then & < > " '.
std::string html_escaped(std::string_view text);

}  // namespace vs
