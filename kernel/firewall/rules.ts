/** The egress part of the configuration: what is open without a secret, which addresses and ports, how much, how long. */
import { X509Certificate } from 'node:crypto';
import { matchesHost, mentions, type Opening, opens, parseHostPattern, type Target } from '../vault/index.ts';
import { type AddressRules, createAddressRules, parseCidr } from './addresses.ts';

/** As it is stored, in the words of `centaur.yaml`. */
export interface EgressConfig {
  readonly allow?: readonly { readonly host: string; readonly methods?: readonly string[]; readonly paths?: readonly string[] }[];
  readonly allow_cidrs?: readonly string[];
  readonly ca_pems?: readonly string[];
  /** Hosts that are told to which trace a request belongs. */
  readonly trace_hosts?: readonly string[];
  /** When it is given, no other port is dialled, whatever is bound or allowed. */
  readonly ports?: readonly number[];
  readonly scan?: { readonly action?: ScanAction };
  readonly limits?: Partial<Limits>;
}

/** What happens to a secret in an answer: it is blanked, the answer is cut off, or both are only reported of. */
export type ScanAction = 'redact' | 'block';

export interface Limits {
  /** Bytes of a request's body that are held in memory, to be searched before a byte of it is sent. */
  readonly bufferedBody: number;
  readonly websocketMessage: number;
  readonly tunnelsPerLease: number;
  /** Until the first byte of an answer, ms. Models think long. */
  readonly answerMs: number;
  /** Between two parts of an answer, ms. */
  readonly idleMs: number;
  /** How long a request is held for an approval, ms. */
  readonly approvalMs: number;
}

const LIMITS: Limits = {
  bufferedBody: 1024 * 1024,
  websocketMessage: 1024 * 1024,
  tunnelsPerLease: 256,
  answerMs: 600_000,
  idleMs: 300_000,
  approvalMs: 55_000,
};

export interface EgressRules {
  readonly addresses: AddressRules;
  readonly caPems: readonly string[];
  readonly scan: { readonly action: ScanAction };
  readonly limits: Limits;
  /** Whether the configuration opens the target for this request. */
  isListed(target: Target, method: string, path: string): boolean;
  /** Whether it opens anything on the target. */
  mentions(target: Target): boolean;
  isPortOpen(target: Target): boolean;
  /** Whether it hears of our traces. */
  isTraced(target: Target): boolean;
}

/** @throws RangeError naming the field */
export function readRules(config: EgressConfig): EgressRules {
  const openings: Opening[] = (config.allow ?? []).map(({ host, methods = [], paths = [] }, i) => {
    try {
      return { pattern: parseHostPattern(host), methods: methods.map((method) => method.toUpperCase()), paths };
    } catch (error) {
      throw new RangeError(`egress.allow[${i}]: ${(error as Error).message}`, { cause: error });
    }
  });
  const traced = (config.trace_hosts ?? []).map((host, i) => {
    try {
      return parseHostPattern(host);
    } catch (error) {
      throw new RangeError(`egress.trace_hosts[${i}]: ${(error as Error).message}`, { cause: error });
    }
  });
  const ports = config.ports === undefined ? undefined : new Set(config.ports);
  for (const [i, cidr] of (config.allow_cidrs ?? []).entries()) {
    try {
      parseCidr(cidr);
    } catch (error) {
      throw new RangeError(`egress.allow_cidrs[${i}]: ${(error as Error).message}`, { cause: error });
    }
  }
  for (const [i, pem] of (config.ca_pems ?? []).entries()) {
    try {
      const found = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g);
      if (found === null) throw new TypeError('no certificate is in it');
      for (const each of found) void new X509Certificate(each);
    } catch (error) {
      throw new RangeError(`egress.ca_files[${i}]: it is no certificate`, { cause: error });
    }
  }
  return {
    addresses: createAddressRules(config.allow_cidrs ?? []),
    caPems: config.ca_pems ?? [],
    scan: { action: config.scan?.action ?? 'redact' },
    limits: { ...LIMITS, ...config.limits },
    isListed: (target, method, path) => opens(openings, target, method, path),
    mentions: (target) => mentions(openings, target),
    isPortOpen: ({ port }) => ports === undefined || ports.has(port),
    isTraced: (target) => traced.some((pattern) => matchesHost(pattern, target)),
  };
}
