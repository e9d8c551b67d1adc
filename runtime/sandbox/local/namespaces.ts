/**
 * Without bubblewrap: util-linux' unshare and a script that builds the same view of the file system. No system call filter,
 * and slower; the same agent, relays and limits.
 */
import { accessSync, constants } from 'node:fs';
import { INSIDE } from './layout.ts';
import type { Launch } from './launch.ts';

const NEEDED = ['/usr/bin/unshare', '/usr/bin/setpriv', '/usr/bin/prlimit', '/bin/mount', '/bin/umount', '/sbin/pivot_root'];
const IP = ['/usr/sbin/ip', '/sbin/ip', '/usr/bin/ip', '/bin/ip'];

/** What this machine lacks for it. */
export function missingForNamespaces(): string[] {
  const executable = (path: string): boolean => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  };
  return [...NEEDED.filter((path) => !executable(path)), ...(IP.some(executable) ? [] : ['ip (the package iproute2)'])];
}

/** Everything that varies is an argument or a variable: nothing is put into the text of the script. */
const SCRIPT = `set -eu
read -r go || exit 1
root=$ROOT
mount -t tmpfs -o mode=755,size=1m,nosuid,nodev tmpfs "$root"
cd "$root"
mkdir -p usr proc dev etc tmp home/agent workspace opt/centaur/bin opt/centaur/agent opt/centaur/sockets old
bind() { # source target options
  if [ -d "$1" ]; then mkdir -p ".$2"; else mkdir -p ".\${2%/*}"; [ -e ".$2" ] || : > ".$2"; fi
  mount --bind "$1" ".$2"
  mount -o "remount,bind,$3" ".$2"
}
bind /usr /usr ro,nosuid,nodev
for name in bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$name" ]; then ln -s "$(readlink "/$name")" "$name"; elif [ -d "/$name" ]; then bind "/$name" "/$name" ro,nosuid,nodev; fi
done
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t tmpfs -o mode=755,size=64k,nosuid,noexec tmpfs dev
for name in null zero full random urandom tty; do : > "dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
mkdir dev/shm dev/pts
mount -t tmpfs -o mode=1777,size=64m,nosuid,nodev tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts || true
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd; ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
mount -o remount,ro dev
mount -t tmpfs -o "mode=1777,size=\${TMP_MB}m,nosuid,nodev" tmpfs tmp
bind "$ETC" /etc ro,nosuid,nodev
for name in ssl alternatives ld.so.cache; do [ ! -e "/etc/$name" ] || { mount --bind "/etc/$name" "etc/$name"; mount -o remount,bind,ro,nosuid,nodev "etc/$name"; }; done
bind "$NODE" ${INSIDE.node} ro,nosuid,nodev
bind "$AGENT" ${INSIDE.agent} ro,nosuid,nodev
bind "$SOCKETS" ${INSIDE.sockets} ro,nosuid,nodev
bind "$HOME_FOLDER" ${INSIDE.home} nosuid,nodev
bind "$WORKSPACE" ${INSIDE.workspace} nosuid,nodev
while [ "$1" != -- ]; do bind "$1" "$2" ro,nosuid,nodev; shift 2; done
shift
for name in cmdline kallsyms keys key-users kcore timer_list sysrq-trigger kmsg modules config.gz vmallocinfo slabinfo sched_debug; do
  [ ! -e "proc/$name" ] || mount --bind /dev/null "proc/$name"
done
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
hostname sandbox
ip link set lo up
pivot_root . old
umount -l /old
rmdir /old
mount -o remount,ro /
exec 0</dev/null
cd ${INSIDE.workspace}
exec env -i PATH="${INSIDE.path}" HOME=${INSIDE.home} UV_THREADPOOL_SIZE=1 setpriv $IDENTITY --no-new-privs --bounding-set=-all --inh-caps=-all "$@" 3>&-
`;

export function namespacesScript(
  { limits, uid, home, workspace, sockets, shared, mounts }: Launch,
  agentCommand: (limits: Launch['limits'], paths: { node: string; agent: string; control: string }) => string[],
): { command: string[]; env: Record<string, string> } {
  const command = agentCommand(limits, { node: INSIDE.node, agent: INSIDE.agent, control: `${INSIDE.sockets}/control` });
  return {
    command: [
      [
        '/usr/bin/unshare',
        '--mount',
        '--pid',
        '--net',
        '--ipc',
        '--uts',
        '--cgroup',
        '--fork',
        '--kill-child=KILL',
        '--propagation',
        'private',
      ],
      // an ordinary user is root in a namespace of its own, until setpriv drops everything that this means
      process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'],
      // /proc is still the host's: the shell's own number in there is the one that the holder knows
      ['/bin/sh', '-c', `read -r pid rest </proc/self/stat; printf '{"child-pid": %s}' "$pid" >&3; exec /bin/sh -c "$0" sh "$@"`],
      [SCRIPT],
      mounts.flatMap(({ source, target }) => [source, target]),
      ['--'],
      command,
    ].flat(),
    env: {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      ROOT: '/mnt',
      NODE: shared.node,
      AGENT: shared.agent,
      ETC: shared.etc,
      SOCKETS: sockets,
      HOME_FOLDER: home,
      WORKSPACE: workspace,
      TMP_MB: String(limits.tmpMb),
      IDENTITY: uid === null ? '' : `--reuid=${uid} --regid=${uid} --clear-groups`,
    },
  };
}
