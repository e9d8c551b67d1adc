/**
 * Reading a configuration of iron-proxy: what of it this firewall does as well, what it does differently, and what it has
 * no word for. Nothing is taken over silently, and a key that neither knows is an error.
 *
 * The keys and their meaning are those of iron-proxy 0.49.
 */
import { isMap, isScalar, LineCounter, parseDocument, stringify } from 'yaml';
import { ConfigFileError, type EgressSettings } from './file.ts';

export interface ImportedSecret {
  readonly name: string;
  readonly type: string;
  readonly source: unknown;
  readonly hosts: readonly string[];
  readonly methods?: readonly string[];
  readonly paths?: readonly string[];
  readonly match_headers?: readonly string[] | true;
  readonly match_query?: true;
  readonly match_path?: true;
  readonly match_body?: true;
  readonly inject?: { readonly header: string; readonly format: string };
  readonly options?: Readonly<Record<string, unknown>>;
}

export interface Imported {
  readonly egress: EgressSettings;
  readonly secrets: readonly ImportedSecret[];
  /** What means something else here: one sentence each. */
  readonly differences: readonly string[];
}

const TOP = ['dns', 'proxy', 'tls', 'transforms', 'mcp', 'mcp_gateway', 'postgres', 'metrics', 'management', 'control_plane', 'log'];
const TRANSFORMS = [
  'allowlist',
  'secrets',
  'header_allowlist',
  'annotate',
  'body_capture',
  'grpc',
  'judge',
  'aws_auth',
  'gcp_auth',
  'gcp_id_token',
  'oauth_token',
  'hmac_sign',
];

interface Rule {
  readonly host?: string;
  readonly cidr?: string;
  readonly methods?: readonly string[];
  readonly paths?: readonly string[];
}

type Entry = Readonly<Record<string, unknown>>;

/** @throws ConfigFileError with the line of what is not known */
export function importIronProxy(text: string, file: string): Imported {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0)
    throw new ConfigFileError(
      file,
      document.errors.map((error) => `line ${lines.linePos(error.pos[0]).line}: ${error.message}`),
    );
  const problems: string[] = [];
  if (isMap(document.contents)) {
    for (const { key } of document.contents.items) {
      const name = isScalar(key) ? String(key.value) : '';
      if (!TOP.includes(name))
        problems.push(`line ${isScalar(key) && key.range ? lines.linePos(key.range[0]).line : '?'}: ${name}: not a key of iron-proxy`);
    }
  }
  const source = (document.toJS() ?? {}) as Readonly<Record<string, unknown>>;
  const transforms = asList(source['transforms']) as readonly { readonly name?: string; readonly config?: Entry }[];
  for (const [i, { name }] of transforms.entries())
    if (name === undefined || !TRANSFORMS.includes(name))
      problems.push(`transforms[${i}].name: ${JSON.stringify(name)} is not a transform of iron-proxy`);
  if (problems.length > 0) throw new ConfigFileError(file, problems);

  const allow: { host: string; methods?: readonly string[]; paths?: readonly string[] }[] = [];
  const cidrs: string[] = [];
  const secrets: ImportedSecret[] = [];
  const differences = [
    'Every request needs a lease: there is no identity by network position, and the proxy URL carries the token.',
    'Hosts are compared without regard to case and trailing dots; iron-proxy compares them as they are written.',
    'Ports count: a host without one is open on 443 alone.',
    'Private, loopback and special addresses are refused unless allow_cidrs opens them; iron-proxy refuses four ranges.',
    'Answers are searched for secrets; iron-proxy passes them on as they are.',
    'An audit entry is durable before a credential is used; iron-proxy logs afterwards, and goes on when it cannot.',
  ];

  for (const { name, config = {} } of transforms) {
    switch (name) {
      case 'allowlist':
        for (const rule of rulesOf(config, 'domains')) takeRule(rule);
        if (config['warn'] === true)
          differences.push('allowlist.warn: a policy in shadow mode tells what would be refused; requests are refused meanwhile.');
        break;
      case 'secrets':
        for (const entry of asList(config['secrets']) as readonly Entry[]) secrets.push(readSecret(entry));
        break;
      case 'oauth_token':
      case 'gcp_auth':
      case 'gcp_id_token':
      case 'aws_auth':
      case 'hmac_sign':
        for (const entry of asList(config['tokens'] ?? config['credentials'] ?? [config]) as readonly Entry[])
          secrets.push(readMinter(name, entry));
        break;
      case 'header_allowlist':
        differences.push(
          'header_allowlist: headers are sent on as they are; a placeholder in a header that its secret is not bound to refuses the request.',
        );
        break;
      case 'annotate':
      case 'body_capture':
        differences.push(`${name}: not taken over. The audit log keeps what was asked for and what came of it, and no bodies.`);
        break;
      case 'grpc':
      case 'judge':
      case undefined:
        differences.push(
          `${name}: not taken over. Rules are a policy (centaur policy publish); what a model should judge can be sent to a person with the effect "approve".`,
        );
        break;
    }
  }
  const proxy = (source['proxy'] ?? {}) as Entry;
  if (asList(proxy['upstream_deny_cidrs']).length > 0)
    differences.push('proxy.upstream_deny_cidrs: not needed; all that is not the public internet is refused.');
  for (const [key, sentence] of [
    ['dns', 'dns: not taken over. Clients are pointed at the proxy by HTTPS_PROXY or a base URL.'],
    ['mcp', 'mcp: not taken over. Tools are allowed by policy.'],
    ['mcp_gateway', 'mcp_gateway: not taken over.'],
    ['postgres', 'postgres: not taken over. A secret of type pg_dsn is bound to its host; roles are made per lease.'],
    ['management', 'management: not taken over. Configuration comes from centaur.yaml, is versioned in Postgres and taken up by itself.'],
    ['control_plane', 'control_plane: not taken over. Every firewall reads the same database.'],
    ['metrics', 'metrics: set FIREWALL_METRICS_PORT.'],
    ['log', 'log: set CENTAUR_LOG_LEVEL.'],
    ['tls', 'tls: the CA is made at the first start and sealed under the master key; a CA of your own cannot be brought.'],
  ] as const)
    if (source[key] !== undefined) differences.push(sentence);
  if (secrets.some(({ hosts }) => hosts.length === 0))
    differences.push('A secret without rules went to every host; here it needs hosts, and is not made without them.');
  return { egress: { ...(allow.length > 0 ? { allow } : {}), ...(cidrs.length > 0 ? { allow_cidrs: cidrs } : {}) }, secrets, differences };

  function takeRule(rule: Rule): void {
    if (rule.cidr !== undefined) {
      cidrs.push(rule.cidr);
      differences.push(
        `${rule.cidr}: opens the address for hosts that are allowed by name; iron-proxy matches it against literal addresses alone.`,
      );
      return;
    }
    for (const host of hostsOf([rule]))
      allow.push({
        host,
        ...(rule.methods === undefined ? {} : { methods: rule.methods }),
        ...(rule.paths === undefined ? {} : { paths: rule.paths }),
      });
  }

  /** `*.x.com` is the apex too in iron-proxy, and `*` is every host. */
  function hostsOf(rules: readonly Rule[]): string[] {
    return rules.flatMap(({ host }) => {
      if (host === undefined) return [];
      if (host === '*') {
        differences.push('The host "*" is not taken over: name the hosts that are needed.');
        return [];
      }
      return host.startsWith('*.') ? [host.slice(2), host] : [host];
    });
  }

  function common(entry: Entry) {
    const rules = rulesOf(entry, 'hosts');
    const methods = [...new Set(rules.flatMap((rule) => rule.methods ?? []))];
    const paths = [...new Set(rules.flatMap((rule) => rule.paths ?? []))];
    return { hosts: [...new Set(hostsOf(rules))], ...(methods.length > 0 ? { methods } : {}), ...(paths.length > 0 ? { paths } : {}) };
  }

  function readSecret(entry: Entry): ImportedSecret {
    const replace = (entry['replace'] ?? entry) as Entry;
    const inject = entry['inject'] as Entry | undefined;
    const name = variableName(
      textOf(replace['proxy_value']) ?? textOf(entry['id']) ?? textOf((entry['source'] as Entry | undefined)?.['var']) ?? 'SECRET',
    );
    if (entry['require'] === false || replace['require'] === false)
      differences.push(`${name}: "require" is always on. A secret that cannot be had refuses the request.`);
    const headers = replace['match_headers'] as readonly string[] | undefined;
    const regular = headers?.filter((header) => header.startsWith('/')) ?? [];
    if (regular.length > 0) differences.push(`${name}: header patterns ${regular.join(', ')} are not taken over; name the headers.`);
    const named = headers?.filter((header) => !header.startsWith('/'));
    return {
      name,
      type: 'http',
      source: readSource(name, entry['source'] as Entry | undefined),
      ...common(entry),
      ...(inject === undefined
        ? {
            match_headers: named === undefined || named.length === 0 ? true : named,
            ...(replace['match_query'] === true ? { match_query: true as const } : {}),
            ...(replace['match_path'] === true ? { match_path: true as const } : {}),
            ...(replace['match_body'] === true ? { match_body: true as const } : {}),
          }
        : {
            inject: {
              header: textOf(inject['header']) ?? 'Authorization',
              format: template(name, textOf(inject['formatter']) ?? textOf(inject['template']) ?? '{{ .Value }}'),
            },
          }),
    };
  }

  function readMinter(transform: string, entry: Entry): ImportedSecret {
    const type = { oauth_token: 'oauth_token', gcp_auth: 'gcp_auth', gcp_id_token: 'gcp_auth', aws_auth: 'aws_sigv4', hmac_sign: 'hmac' }[
      transform
    ] as string;
    const name = variableName(textOf(entry['id']) ?? textOf(entry['name']) ?? transform);
    const kept = Object.fromEntries(
      Object.entries(entry).filter(
        ([key, value]) => !['rules', 'hosts', 'id', 'name', 'source', 'require', 'stub'].includes(key) && typeof value !== 'object',
      ),
    );
    if (entry['require'] !== true)
      differences.push(`${name}: a token that cannot be made refuses the request; iron-proxy sends it without one.`);
    return {
      name,
      type,
      source: readSource(name, entry['source'] as Entry | undefined),
      ...common(entry),
      match_headers: true,
      options: kept,
    };
  }

  function readSource(name: string, from: Entry | undefined): unknown {
    const type = textOf(from?.['type']) ?? '';
    const key = from?.['json_key'] === undefined ? {} : { json_key: from['json_key'] };
    switch (type) {
      case 'env':
        return { type: 'env', variable: from?.['var'] ?? name, ...key };
      case 'file':
        return { type: 'file', path: from?.['path'], ...key };
      case 'aws_sm':
        return { type: 'aws_sm', secret_id: from?.['secret_id'], region: from?.['region'], ...key };
      case '1password_connect':
        return { type: 'onepassword', vault: from?.['vault'], item: from?.['item'], field: from?.['field'] };
      default:
        differences.push(
          `${name}: its source ${type === '' ? 'is not named' : `"${type}" is not known here`}; set its value with: centaur secrets set ${name}`,
        );
        return undefined;
    }
  }

  /** Of Go's templates: the value, and the value in base64. */
  function template(name: string, text: string): string {
    const made = text.replaceAll(/\{\{\s*\.Value\s*\}\}/g, '{value}');
    if (!made.includes('{{')) return made;
    differences.push(`${name}: the template ${JSON.stringify(text)} does more than put the value in; write its format anew.`);
    return '{value}';
  }
}

/** A centaur.yaml, with what else is to be done and what means something else as comments. */
export function renderImport({ egress, secrets, differences }: Imported): string {
  const comments = [
    'What means something else than in iron-proxy:',
    ...differences.map((sentence) => `- ${sentence}`),
    ...(secrets.length === 0 ? [] : ['', 'Secrets are not in this file. Make them with:', ...secrets.map(secretCommand)]),
  ];
  const settings = Object.keys(egress).length === 0 ? 'egress: {}\n' : stringify({ egress });
  return `${comments.map((line) => (line === '' ? '#' : `# ${line}`)).join('\n')}\n\n${settings}`;
}

function secretCommand(secret: ImportedSecret): string {
  const quote = (text: string) => (/^[\w./:@=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
  const flags = [
    ...secret.hosts.map((host) => `--host ${quote(host)}`),
    ...(secret.methods ?? []).map((method) => `--method ${quote(method)}`),
    ...(secret.paths ?? []).map((path) => `--path ${quote(path)}`),
    ...(Array.isArray(secret.match_headers) ? secret.match_headers.map((header: string) => `--header ${quote(header)}`) : []),
    ...(secret.inject === undefined ? [] : [`--inject ${quote(`${secret.inject.header}: ${secret.inject.format}`)}`]),
    ...(secret.match_path === true ? ['--in-path'] : []),
    ...(secret.match_body === true ? ['--in-body'] : []),
    ...(secret.type === 'http' ? [] : [`--type ${secret.type}`]),
    ...Object.entries(secret.options ?? {}).map(([key, value]) => `--option ${quote(`${key}=${String(value)}`)}`),
    ...(secret.source === undefined ? [] : [`--source ${quote(JSON.stringify(secret.source))}`]),
  ];
  return `  centaur secrets set ${secret.name} ${flags.join(' ')}`;
}

function rulesOf(entry: Entry, also: string): readonly Rule[] {
  return [...asList(entry['rules']), ...asList(entry[also])].map((rule) => (typeof rule === 'string' ? { host: rule } : (rule as Rule)));
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : value === undefined || value === null ? [] : [value];
}

function variableName(text: string): string {
  return text
    .replaceAll(/[^A-Za-z0-9_]/g, '_')
    .replace(/^(\d)/, '_$1')
    .toUpperCase();
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
