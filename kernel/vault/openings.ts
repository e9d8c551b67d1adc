/**
 * Openings: hosts, with methods and paths, that a lease reaches. One that has a list of them reaches those and nothing else.
 *
 * There is one way to write a list. What a firewall finds written in any other way, it does not guess at.
 */
import { canonicalJson } from '../store/index.ts';
import {
  formatHostPattern,
  type HostPattern,
  matchesHost,
  matchesPath,
  parseHostPattern,
  parseMethod,
  parsePathPattern,
  type Target,
} from './binding.ts';
import { VaultError } from './errors.ts';

export interface OpeningRequest {
  /** `api.example.com`, `*.example.com`, `host:8443`, or `http://host:8080`. */
  readonly host: string;
  /** Empty, as with `paths`: all. */
  readonly methods?: readonly string[] | undefined;
  readonly paths?: readonly string[] | undefined;
}

/** As it is stored and shown. */
export interface StoredOpening {
  readonly host: string;
  readonly methods: readonly string[];
  readonly paths: readonly string[];
}

export interface Opening {
  readonly pattern: HostPattern;
  readonly methods: readonly string[];
  readonly paths: readonly string[];
}

const OPENINGS_MOST = 200;
/** Characters of a list as it is stored: it stands in an audit entry, too. */
const LIST_MOST = 32 * 1024;

/** Each once, in one order. @throws VaultError INVALID_SECRET naming the opening */
export function canonicalOpenings(requests: readonly OpeningRequest[]): StoredOpening[] {
  if (requests.length > OPENINGS_MOST) throw invalid(`egress: ${OPENINGS_MOST} openings are the most of one lease`);
  const openings = new Map<string, StoredOpening>();
  for (const [i, { host, methods = [], paths = [] }] of requests.entries()) {
    try {
      const opening = {
        host: formatHostPattern(parseHostPattern(host)),
        methods: each(methods, parseMethod),
        paths: each(paths, parsePathPattern),
      };
      openings.set(canonicalJson(opening), opening);
    } catch (error) {
      throw error instanceof VaultError ? invalid(`egress[${i}].${error.message}`) : error;
    }
  }
  const sorted = [...openings].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, opening]) => opening);
  if (canonicalJson(sorted).length > LIST_MOST) throw invalid(`egress: ${LIST_MOST} characters are the most of one lease`);
  return sorted;
}

/** @throws Error for all that `canonicalOpenings` does not write */
export function readOpenings(text: string): Opening[] {
  const stored = canonicalOpenings(JSON.parse(text) as StoredOpening[]);
  // a word that is not known here may be a limit
  if (canonicalJson(stored) !== text) throw new TypeError('the list of openings is not as it was written');
  return stored.map(({ host, methods, paths }) => ({ pattern: parseHostPattern(host), methods, paths }));
}

/** @param path canonical, without the query */
export function opens(openings: readonly Opening[], target: Target, method: string, path: string): boolean {
  return openings.some(
    (opening) =>
      matchesHost(opening.pattern, target) &&
      (opening.methods.length === 0 || opening.methods.includes(method)) &&
      (opening.paths.length === 0 || opening.paths.some((pattern) => matchesPath(pattern, path))),
  );
}

/** Whether anything is open on the target. */
export function mentions(openings: readonly Opening[], target: Target): boolean {
  return openings.some(({ pattern }) => matchesHost(pattern, target));
}

function each(given: readonly string[], parse: (text: string) => string): string[] {
  return [...new Set(given.map(parse))].sort();
}

function invalid(message: string): VaultError {
  return new VaultError('INVALID_SECRET', message);
}
