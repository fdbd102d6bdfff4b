#include "backup/archive/readme_text.h"

namespace vs::backup {

std::string readme_text() {
  return R"(Backups of vservers (complete Linux trees), made by vbackup. Plain pax archives in zstd: GNU tar and
zstd restore them on any machine. As root:

  1. Choose what to restore: a guest and the time of one of its archives (UTC, in the name).
     You need NAME-full-TIME.tar.zst, each NAME-inc-TIME.tar.zst after it up to the time you want, before
     the next full, and all pool-N.tar.zst (files that several guests share).

  2. In an empty directory on one filesystem, with SET being this directory:

       tar='tar --zstd --numeric-owner --same-owner -p --xattrs --xattrs-include=* -x'
       for p in SET/pool-*.tar.zst; do $tar -f "$p"; done
       $tar -f SET/NAME-full-TIME.tar.zst
       $tar --listed-incremental=/dev/null -f SET/NAME-inc-TIME.tar.zst     (each, oldest first)

     (Put "set -f" before it if your shell complains of --xattrs-include=*.) The guest is then in ./NAME.
     Several guests can be restored into the same directory.

  3. Shared files are hard links into ./.pool. Remove that directory when all guests are there
     (rm -rf .pool), or leave it. If vunify shall protect the files again: vunify run.

With bsdtar instead of GNU tar: bsdtar --numeric-owner -xpf FILE for each, in the same order. It does not
delete what an incremental says was deleted.

.host.NAME/ has the files of the host that belong to a guest (its configuration), by their paths. They are not
needed to have the tree; read them before you copy one to its place.

A single archive (vbackup create --single FILE) is restored by one such command.

What these tools cannot give back, and "vbackup restore" can: inode flags (immutable, append-only, nodump),
project ids, sockets, attributes with '=' in their names, birth times (recorded only). GNU tar puts ACLs back with
--acls, and warns of SCHILY.acl records without. Where it sets owners after attributes, run setcap or vbackup for
files with capabilities if getcap -r shows none.

*.catalog are indexes of vbackup; each is also inside of its archive. One file without them:
tar --zstd -xf ARCHIVE NAME/path/to/it (a link to the pool wants the pool first).
)";
}

}  // namespace vs::backup
