// The last words of a process that cannot return an error any more: memory ran out in the middle of
// something, or a file that is mapped was cut while it was in use. One sentence and an exit status take the
// place of a bare signal. Only mains install them; what a journal holds is good either way.
#ifndef ZO2_IR_SUPPORT_LAST_WORDS_H_
#define ZO2_IR_SUPPORT_LAST_WORDS_H_

#include <cstddef>
#include <string>

namespace zo2 {

// First thing in main, once. `program` begins the sentence; it must live as long as the process.
void InstallLastWords(const char* program);

// Of MappedFile: a read of [data, data + size) that fails names `path`. Returns a ticket for ForgetMap; -1
// when too many files are mapped: then that read ends in the bare signal.
int NameMap(const void* data, size_t size, const std::string& path);
void ForgetMap(int ticket);

}  // namespace zo2

#endif  // ZO2_IR_SUPPORT_LAST_WORDS_H_
