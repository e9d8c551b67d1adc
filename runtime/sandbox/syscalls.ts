/** Numbers of the system calls that the filter has an opinion about, from Linux' unistd.h. Null where an architecture lacks one. */

export type Architecture = 'x64' | 'arm64';

type Numbers = readonly [x64: number | null, arm64: number | null];

/** Refused with EPERM, whatever the arguments: reaching into other processes, namespaces, mounts, the kernel's own machinery. */
export const REFUSED = {
  ptrace: [101, 117],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  process_madvise: [440, 440],
  pidfd_getfd: [438, 438],
  kcmp: [312, 272],
  mount: [165, 40],
  umount2: [166, 39],
  pivot_root: [155, 41],
  chroot: [161, 51],
  open_tree: [428, 428],
  move_mount: [429, 429],
  fsopen: [430, 430],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fspick: [433, 433],
  mount_setattr: [442, 442],
  statmount: [457, 457],
  listmount: [458, 458],
  open_tree_attr: [467, 467],
  unshare: [272, 97],
  setns: [308, 268],
  bpf: [321, 280],
  perf_event_open: [298, 241],
  keyctl: [250, 219],
  add_key: [248, 217],
  request_key: [249, 218],
  userfaultfd: [323, 282],
  io_uring_setup: [425, 425],
  io_uring_enter: [426, 426],
  io_uring_register: [427, 427],
  kexec_load: [246, 104],
  kexec_file_load: [320, 294],
  create_module: [174, null],
  query_module: [178, null],
  get_kernel_syms: [177, null],
  init_module: [175, 105],
  finit_module: [313, 273],
  delete_module: [176, 106],
  open_by_handle_at: [304, 265],
  name_to_handle_at: [303, 264],
  clock_settime: [227, 112],
  clock_adjtime: [305, 266],
  settimeofday: [164, 170],
  adjtimex: [159, 171],
  quotactl: [179, 60],
  quotactl_fd: [443, 443],
  swapon: [167, 224],
  swapoff: [168, 225],
  reboot: [169, 142],
  personality: [135, 92],
  syslog: [103, 116],
  iopl: [172, null],
  ioperm: [173, null],
  modify_ldt: [154, null],
  mbind: [237, 235],
  set_mempolicy: [238, 237],
  get_mempolicy: [239, 236],
  set_mempolicy_home_node: [450, 450],
  migrate_pages: [256, 238],
  move_pages: [279, 239],
  acct: [163, 89],
  nfsservctl: [180, 42],
  sethostname: [170, 161],
  setdomainname: [171, 162],
  lookup_dcookie: [212, 18],
  vhangup: [153, 58],
  uselib: [134, null],
  _sysctl: [156, null],
  sysfs: [139, null],
  ustat: [136, null],
  fanotify_init: [300, 262],
  fanotify_mark: [301, 263],
  memfd_secret: [447, 447],
} as const satisfies Record<string, Numbers>;

/** Their arguments lie behind a pointer, where no filter can look. ENOSYS makes libc take the older call, which it can judge. */
export const UNREADABLE = { clone3: [435, 435], openat2: [437, 437] } as const satisfies Record<string, Numbers>;

/** Judged by their arguments. */
export const JUDGED = {
  clone: [56, 220],
  socket: [41, 198],
  socketpair: [53, 199],
  ioctl: [16, 29],
  chmod: [90, null],
  fchmod: [91, 52],
  fchmodat: [268, 53],
  fchmodat2: [452, 452],
  mknod: [133, null],
  mknodat: [259, 33],
  creat: [85, null],
  open: [2, null],
  openat: [257, 56],
} as const satisfies Record<string, Numbers>;

/** The number on an architecture, or null. */
export function numberOf(numbers: Numbers, architecture: Architecture): number | null {
  return numbers[architecture === 'x64' ? 0 : 1];
}
