/** Where a delivery came from. A header says what its sender likes; only that of a proxy which is known counts. */
import { BlockList, isIP } from 'node:net';

export interface Sources {
  /**
   * The peer's address; or, when the peer is a trusted proxy, the right-most entry of X-Forwarded-For that is not one. Null
   * without a socket.
   */
  addressOf(peer: string | undefined, forwardedFor: string | null): string | null;
}

/** Hops after which a chain is not followed: nobody has so many proxies, and a header may be long. */
const HOPS_MOST = 32;

/** @param trusted addresses or ranges such as 10.0.0.0/8, which were checked */
export function createSources(trusted: readonly string[]): Sources {
  const proxies = new BlockList();
  for (const range of trusted) {
    const [address = '', bits] = range.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    proxies.addSubnet(address, bits === undefined ? (family === 'ipv6' ? 128 : 32) : Number(bits), family);
  }
  const isProxy = (address: string) => proxies.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');

  return {
    addressOf(peer, forwardedFor) {
      let address = peer === undefined ? undefined : readAddress(peer);
      if (address === undefined) return null;
      const hops = forwardedFor === null ? [] : forwardedFor.split(',').slice(-HOPS_MOST);
      while (isProxy(address)) {
        const before: string | undefined = readAddress(hops.pop() ?? '');
        // what is left of an entry that is no address was not written by a proxy of ours
        if (before === undefined) break;
        address = before;
      }
      return address;
    },
  };
}

/** `203.0.113.7`, `203.0.113.7:5123`, `[2001:db8::1]:5123`; an IPv4 address in the form of IPv6 is the IPv4 address. */
function readAddress(text: string): string | undefined {
  const entry = text.trim();
  const address = isIP(entry) === 0 ? (/^(?:\[([^\]]+)\]|([^:]+))(?::\d{1,5})?$/.exec(entry)?.slice(1).find(Boolean) ?? '') : entry;
  if (isIP(address) === 0 || address.includes('%')) return undefined;
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address.toLowerCase();
}
