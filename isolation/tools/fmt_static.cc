// fmt's library from its own headers, for programs that are linked statically: Debian packages it as a shared
// one only.
#include <fmt/format-inl.h>

// Declared extern in fmt/format.h.
template auto fmt::detail::thousands_sep_impl<char>(locale_ref) -> thousands_sep_result<char>;
template auto fmt::detail::decimal_point_impl<char>(locale_ref) -> char;
