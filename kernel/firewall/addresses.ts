/** Which addresses may be dialled: none that is private, local or special, in whatever form it comes. */
import { BlockList, isIP } from 'node:net';

/** Ranges that are not the public internet, after the registries for special purposes. */
const SPECIAL: readonly string[] = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '192.175.48.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/128',
  '::1/128',
  '100::/64',
  '2001::/23',
  '2001:db8::/32',
  '2620:4f:8000::/48',
  '3fff::/20',
  '5f00::/16',
  'fc00::/7',
  'fe80::/10',
  'fec0::/10',
  'ff00::/8',
];

/** Where clouds keep the credentials of their machines. No configuration opens these. */
const METADATA = new Set([
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  '100.100.100.200',
  '192.0.0.192',
  'fd00:ec2::254',
  'fd00:ec2::23',
  'fd20:ce::254',
  '168.63.129.16',
]);
const METADATA_NAMES = new Set([
  'metadata.google.internal',
  'metadata',
  'metadata.goog',
  'instance-data',
  'instance-data.ec2.internal',
  'metadata.azure.internal',
]);

export interface AddressRules {
  /** Undefined when the address may be dialled; else why not. */
  refusal(address: string): string | undefined;
}

/** @param allowed CIDRs or single addresses that are opened on purpose: never those of metadata services */
export function createAddressRules(allowed: readonly string[]): AddressRules {
  const special = blockList(SPECIAL);
  const open = blockList(allowed);
  return {
    refusal(address) {
      const plain = unwrap(address);
      const family = isIP(plain) === 6 ? 'ipv6' : 'ipv4';
      if (isIP(plain) === 0) return `${JSON.stringify(address)} is no address`;
      if (isLocalNat64(address)) return `${address} leads to an address that depends on the network`;
      if (METADATA.has(plain)) return `${plain} is a metadata service`;
      if (open.check(plain, family)) return undefined;
      return special.check(plain, family) ? `${plain} is not on the public internet` : undefined;
    },
  };
}

export function isMetadataName(host: string): boolean {
  return METADATA_NAMES.has(host);
}

/** @throws RangeError naming the entry */
export function parseCidr(text: string): { readonly address: string; readonly bits: number; readonly family: 'ipv4' | 'ipv6' } {
  const [address = '', bits, ...rest] = text.split('/');
  const version = isIP(address);
  const most = version === 6 ? 128 : 32;
  const length = bits === undefined ? most : Number(bits);
  if (version === 0 || rest.length > 0 || (bits !== undefined && !/^\d{1,3}$/.test(bits)) || length > most)
    throw new RangeError(`${JSON.stringify(text)}: expected an address or a range such as 10.0.0.0/8`);
  return { address, bits: length, family: version === 6 ? 'ipv6' : 'ipv4' };
}

function blockList(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const { address, bits, family } = parseCidr(range);
    list.addSubnet(address, bits, family);
  }
  return list;
}

/** The IPv4 address inside an IPv6 one: mapped, compatible, NAT64, 6to4, ISATAP; else the address in its canonical form. */
export function unwrap(address: string): string {
  if (isIP(address) !== 6) return address;
  const bare = address.split('%')[0] as string;
  const groups = expand(bare);
  const v4 = (high: number, low: number) => `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = groups;
  const zeros = (from: number, to: number) => groups.slice(from, to).every((group) => group === 0);
  if (zeros(0, 5) && f === 0xffff) return v4(g, h);
  if (zeros(0, 4) && e === 0xffff && f === 0) return v4(g, h);
  if (zeros(0, 6) && (g !== 0 || h > 1)) return v4(g, h);
  if (a === 0x64 && b === 0xff9b && zeros(2, 6)) return v4(g, h);
  if (a === 0x2002) return v4(b, c);
  if ((e === 0 || e === 0x200) && f === 0x5efe) return v4(g, h);
  // Teredo keeps the client's address inverted at its end
  if (a === 0x2001 && b === 0) return v4(g ^ 0xffff, h ^ 0xffff);
  void d;
  return new URL(`http://[${bare}]/`).hostname.slice(1, -1);
}

/** 64:ff9b:1::/48: where in it the IPv4 address stands is up to each network. */
function isLocalNat64(address: string): boolean {
  if (isIP(address) !== 6) return false;
  const [a, b, c] = expand(address.split('%')[0] as string);
  return a === 0x64 && b === 0xff9b && c === 1;
}

function expand(address: string): number[] {
  const text = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [head = '', tail] = text.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)));
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  return [...left, ...Array.from({ length: 8 - left.length - right.length }, () => 0), ...right];
}
