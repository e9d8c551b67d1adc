/**
 * Blanks secrets by their value in what a process writes down: the last barrier, for what should never have come that far. Like
 * the scanner it finds every form of a value that has twelve bytes or more.
 */
import { createValues, type Installation, type Values } from '../vault/index.ts';
import { createScanner, type Scanner, SHORTEST_SECRET } from './scanner/index.ts';

export interface Scrubber {
  scrub(text: string): string;
  /** Knows the values that are sealed in this installation from now on. Answers how to forget them. */
  follow(installation: Pick<Installation, 'store' | 'master'>): Promise<() => void>;
}

/** Changes are told of by a notification; what is missed is read all the same. */
const LOOK_MS = 60_000;

/** @param given what this process knows itself: from its environment, say */
export function createScrubber(given: readonly { readonly name: string; readonly value: string }[]): Scrubber {
  let values: Values | undefined;
  let scanner: { readonly of: number; readonly scanner: Scanner } | undefined;

  function current(): Scanner {
    const of = values?.revision ?? 0;
    if (scanner?.of !== of) scanner = { of, scanner: createScanner(scannable([...given, ...(values?.known() ?? [])])) };
    return scanner.scanner;
  }

  return {
    scrub(text) {
      const bytes = Buffer.from(text, 'utf8');
      const { data, hits } = current().scan(bytes);
      return hits.length === 0 ? text : data.toString('utf8');
    },
    async follow({ store, master }) {
      // what is wrong with a secret is the firewall's to tell
      const opened = await createValues({ store, master, sources: 'sealed', log: () => {} });
      values = opened;
      scanner = undefined;
      const look = () => void opened.refresh().catch(() => undefined);
      const unlisten = await store.listener.on('centaur_firewall', look);
      const timer = setInterval(look, LOOK_MS);
      timer.unref();
      return () => {
        unlisten();
        clearInterval(timer);
      };
    },
  };
}

/** Names of variables whose values are secrets, whoever reads them. */
const SECRET_VARIABLE = /(?:TOKEN|SECRET|SECRET_ACCESS_KEY|PASSWORD|API_KEY|MASTER_KEY|PRIVATE_KEY)$/;

/** What is secret in an environment: such variables, headers for receivers of telemetry, and the passwords in addresses. */
export function secretsOfEnvironment(environment: Readonly<Record<string, string | undefined>>): { name: string; value: string }[] {
  return Object.entries(environment).flatMap(([name, text]) => {
    const value = text?.trim() ?? '';
    if (SECRET_VARIABLE.test(name)) return [{ name, value }];
    if (/^OTEL_EXPORTER_OTLP_(?:[A-Z]+_)?HEADERS$/.test(name)) return headersOf(value).map((each) => ({ name, value: each }));
    const { password } = /^[a-z]+:\/\/\S+@/.test(value) && URL.canParse(value) ? new URL(value) : { password: '' };
    if (password === '') return [];
    return [...new Set([password, decoded(password)])].map((each) => ({ name, value: each }));
  });
}

/** Values of `name=value,name=value`, percent-encoded; of `Bearer …`, also what follows. */
function headersOf(text: string): string[] {
  const values = text.split(',').map((pair) => pair.slice(pair.indexOf('=') + 1).trim());
  const all = values.flatMap((value) => [value, decoded(value), decoded(value).replace(/^[A-Za-z]+ +/, '')]);
  return [...new Set(all)].filter((value) => value !== '');
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A structured value has parts that are secret by themselves. */
export function scannable(known: readonly { readonly name: string; readonly value: string }[]): { name: string; value: Buffer }[] {
  const texts = known.flatMap(({ name, value }) => [{ name, value }, ...secretParts(value).map((part) => ({ name, value: part }))]);
  return texts
    .map(({ name, value }) => ({ name, value: Buffer.from(value, 'utf8') }))
    .filter(({ value }) => value.length >= SHORTEST_SECRET);
}

function secretParts(value: string): string[] {
  if (!value.startsWith('{')) return [];
  try {
    return Object.entries(JSON.parse(value) as Record<string, unknown>).flatMap(([key, part]) =>
      typeof part === 'string' && /secret|token|password|private_key$|refresh|^key$/i.test(key) && !/ur[il]$/i.test(key)
        ? [part.trim()]
        : [],
    );
  } catch {
    return [];
  }
}
