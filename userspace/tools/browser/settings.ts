/** What the operator says in the tool's environment: which sites may be opened, and which secrets are typed into which of them. */
import type { ToolSecret } from '@centaur/sdk';

/** Hosts, with commas between them: `example.com`, `*.example.com`, `example.com:8443`. */
export const HOSTS = 'BROWSER_HOSTS';
/**
 * Secrets of the vault with the host that each is for, and the path that it is sent to: `SHOP_PASSWORD@shop.example.com/login`, with
 * commas between them.
 */
export const SECRETS = 'BROWSER_SECRETS';

/** Which sites the browser opens; the firewall holds it to them. */
export const hosts = wordsOf(HOSTS);

export interface Typed {
  /** As the address of a page has them: lower case, without the port 443. */
  readonly hosts: readonly string[];
  /** None: any. */
  readonly path: string | undefined;
}

/** By name, where its placeholder may be typed. */
export const typed = typedSecrets(wordsOf(SECRETS));

export const secrets: readonly ToolSecret[] = [...typed].map(([name, { hosts: at, path }]) => ({
  name,
  hosts: at,
  methods: ['POST', 'PUT', 'PATCH'],
  ...(path === undefined ? {} : { paths: [path] }),
  match_body: true,
  optional: true,
  description: `What a person would type at ${at.join(', ')}; the browser has a placeholder for it`,
}));

function wordsOf(variable: string): readonly string[] {
  return (process.env[variable] ?? '')
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');
}

function typedSecrets(words: readonly string[]): ReadonlyMap<string, Typed> {
  const found = new Map<string, Typed>();
  for (const word of words) {
    const [, name, host, path] = /^([A-Z_][A-Z0-9_]{0,127})@([^@\s*/?#]+)(\/[^\s?#]*)?$/.exec(word) ?? [];
    if (name === undefined || host === undefined)
      throw new Error(
        `${SECRETS}: expected NAME@host or NAME@host/path, such as SHOP_PASSWORD@shop.example.com/login, and not ${JSON.stringify(word.slice(0, 200))}`,
      );
    const known = found.get(name);
    // a secret has one binding: each path would count for each host
    if (known !== undefined && known.path !== path)
      throw new Error(`${SECRETS}: ${name} has the path ${known.path ?? '(any)'} and ${path ?? '(any)'}; one secret has one path`);
    found.set(name, { hosts: [...(known?.hosts ?? []), host.toLowerCase().replace(/:443$/, '')], path });
  }
  return found;
}
