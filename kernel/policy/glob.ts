/**
 * Patterns in rules. None of them backtracks: what they are held against comes from an agent, and must not be able to make
 * the firewall slow.
 */

export type Matcher = (text: string) => boolean;

/** Names of tools, agents and principals: `*` stands for any characters. */
export function nameMatcher(pattern: string): Matcher {
  return globMatcher(pattern.replaceAll(/\*+/g, '**'));
}

/** One name against one pattern; patterns are few, and stay compiled. */
export function matchesName(pattern: string, name: string): boolean {
  let matcher = matchers.get(pattern);
  if (matcher === undefined) {
    if (matchers.size >= 1000) matchers.clear();
    matchers.set(pattern, (matcher = nameMatcher(pattern)));
  }
  return matcher(name);
}
const matchers = new Map<string, Matcher>();

/**
 * Paths, in the way bindings of secrets read them: `*` stands for anything but a slash, `**` for anything, and a trailing
 * `/*` for all below, the folder itself too.
 */
export function pathMatcher(pattern: string): Matcher {
  const folder = /^([^*]*)\/\*{1,2}$/.exec(pattern)?.[1];
  if (folder !== undefined) return (path) => path === folder || path.startsWith(`${folder}/`);
  return globMatcher(pattern);
}

/** A host, `*.` before a domain for one or more labels, or `*` for every host. */
export function hostMatcher(pattern: string): Matcher {
  if (pattern === '*') return () => true;
  if (!pattern.startsWith('*.')) return (host) => host === pattern;
  const suffix = pattern.slice(1);
  return (host) => host.length > suffix.length && host.endsWith(suffix);
}

/** `*` stands for anything but a slash, `**` for anything, wherever they are. */
export function globMatcher(pattern: string): Matcher {
  if (pattern === '**') return () => true;
  if (!pattern.includes('*')) return (text) => text === pattern;
  const prefix = /^([^*]+)\*\*$/.exec(pattern)?.[1];
  if (prefix !== undefined) return (text) => text.startsWith(prefix);
  const parts = pattern.match(/\*+|[^*]/g) as string[];
  return (text) => simulate(parts, text);
}

/** Follows all ways to read the pattern at once, so that the work is at most its length times the text's. */
function simulate(parts: readonly string[], text: string): boolean {
  let open = new Uint8Array(parts.length + 1);
  let next = new Uint8Array(parts.length + 1);
  open[0] = 1;
  skipStars(parts, open);
  for (let at = 0; at < text.length; at += 1) {
    next.fill(0);
    let alive = false;
    for (let i = 0; i < parts.length; i += 1) {
      if (open[i] !== 1) continue;
      const part = parts[i] as string;
      if (part[0] === '*') {
        if (part.length === 1 && text[at] === '/') continue;
        next[i] = 1;
      } else if (part === text[at]) next[i + 1] = 1;
      else continue;
      alive = true;
    }
    if (!alive) return false;
    skipStars(parts, next);
    [open, next] = [next, open];
  }
  return open[parts.length] === 1;
}

/** A star may stand for nothing. */
function skipStars(parts: readonly string[], open: Uint8Array): void {
  for (let i = 0; i < parts.length; i += 1) if (open[i] === 1 && parts[i]?.[0] === '*') open[i + 1] = 1;
}
