/** What the settings of all bots have in common: read from the environment and a section of `centaur.yaml`, whole or not at all. */
import type { z } from 'zod';

/** Everything that is wrong, a line each; no value of a credential is in it. */
export class SettingsError extends Error {
  /** As of the servers' settings: so the CLI knows that nothing else is wrong. */
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** Notes what is wrong in `problems`, and goes on with what would be right. */
export function createSettingsReader(environment: Environment, problems: string[]) {
  const get = (key: string): string | undefined => environment[key]?.trim() || undefined;
  return {
    /** Undefined where it is empty, too. */
    get,
    port(key: string, otherwise: number): number {
      const port = Number(get(key) ?? otherwise);
      if (!Number.isInteger(port) || port < 0 || port > 65_535) problems.push(`${key}: expected a port, 0 to 65535`);
      return port;
    },
    /** Of HTTP, without a slash at its end. */
    address(key: string, otherwise: string): string {
      const url = URL.parse(get(key) ?? otherwise);
      if (url !== null && /^https?:$/.test(url.protocol) && url.username === '') return url.href.replace(/\/$/, '');
      problems.push(`${key}: expected an address such as ${otherwise}`);
      return otherwise;
    },
    /** @param value the section, unchecked; undefined: it is left out */
    section<Schema extends z.ZodType>(name: string, schema: Schema, value: unknown): z.output<Schema> | undefined {
      const { data, error } = schema.safeParse(value ?? {});
      for (const { path, message } of error?.issues ?? [])
        problems.push(`centaur.yaml: ${[name, ...path.map(String)].join('.')}: ${message}`);
      return data;
    },
  };
}
