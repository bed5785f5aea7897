// The exception the core throws when it is handed something it cannot use.
//
// Bindings translate it; nothing else is thrown on purpose (std::bad_alloc may pass through).
#pragma once

#include <stdexcept>

namespace edgepersona {

class InvalidInput : public std::invalid_argument {
  public:
    using std::invalid_argument::invalid_argument;
};

}  // namespace edgepersona
