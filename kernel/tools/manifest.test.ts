import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkDeclaration } from './manifest.ts';

const KNOWN = { name: 'folder', language: 'node' } as const;
const METHOD = { description: 'Does it.', risk: 'read' };
const TOOL = { description: 'A tool.', methods: { run: METHOD } };
const HOSTS = ['api.example.com'];

const check = (told: unknown) => checkDeclaration(told, KNOWN);

function accepted(told: unknown, known: Parameters<typeof checkDeclaration>[1] = KNOWN) {
  const checked = checkDeclaration(told, known);
  assert.ok(checked.ok, JSON.stringify(checked));
  return checked.declaration;
}

function problems(told: unknown): string[] {
  const checked = check(told);
  assert.ok(!checked.ok, 'it was believed');
  return checked.problems.map(({ field }) => field);
}

test('a declaration is brought into one form', () => {
  const tool = accepted({
    name: 'github',
    description: 'GitHub.\u001b[31m\u202e',
    timeout: '30s',
    concurrency: 4,
    memory_mb: 1024,
    hosts: ['Example.COM', { host: '*.example.org:8443', methods: ['get'], paths: ['/v1/*'] }],
    secrets: [
      { name: 'GITHUB_TOKEN', hosts: ['API.github.com'], methods: ['post'], match_headers: ['Authorization'], description: 'Ask ada' },
    ],
    methods: {
      get: { ...METHOD, input: { properties: { id: { type: 'string' } } } },
      put: { ...METHOD, risk: 'write', idempotent: true, timeout: 5 },
    },
  });
  assert.equal(tool.description, 'GitHub.[31m');
  assert.deepEqual([tool.name, tool.concurrency, tool.language], ['github', 4, 'node']);
  assert.deepEqual([tool.memoryMb, tool.processes], [1024, null]);
  assert.deepEqual(tool.hosts, [
    { host: 'example.com', methods: [], paths: [] },
    { host: '*.example.org:8443', methods: ['GET'], paths: ['/v1/*'] },
  ]);
  const [secret] = tool.secrets;
  assert.deepEqual(
    [secret?.hosts, secret?.methods, secret?.match_headers, secret?.type, secret?.optional],
    [['api.github.com'], ['POST'], ['authorization'], 'http', false],
  );
  const [get, put] = tool.methods;
  assert.deepEqual([get?.timeoutMs, get?.idempotent, put?.timeoutMs, put?.idempotent], [30_000, true, 5, true]);
  assert.equal(get?.input['type'], 'object');
  assert.deepEqual(accepted(TOOL).methods[0]?.input, { type: 'object', properties: {}, additionalProperties: false });
  assert.equal(accepted(TOOL).name, 'folder');
});

test('manifests of Python tools: names of secrets, optional ones, seconds, and what only the vault needs', () => {
  const python = { name: 'crm', language: 'python' } as const;
  const tool = accepted(
    {
      hosts: HOSTS,
      secrets: [
        'CRM_KEY',
        { type: 'oauth_token', secret_ref: 'CRM_OAUTH', replacer: 'x', inject_header: 'Authorization', grant: 'refresh_token' },
      ],
      optional_secrets: ['CRM_EXTRA', { type: 'pg_dsn', name: 'CRM_DB' }],
      timeout_s: 1.5,
      methods: [{ name: 'get_lead', risk: 'read', description: null }],
    },
    python,
  );
  assert.deepEqual(
    tool.secrets.map(({ name, optional, hosts }) => [name, optional, hosts.length]),
    [
      ['CRM_KEY', false, 1],
      ['CRM_OAUTH', false, 1],
      ['CRM_EXTRA', true, 1],
      ['CRM_DB', true, 0],
    ],
  );
  assert.equal(tool.methods[0]?.timeoutMs, 1500);
});

for (const [what, told, fields] of [
  ['no object', 7, ['']],
  ['nothing', {}, ['description', 'methods']],
  ['a name with a path', { ...TOOL, name: '../kernel' }, ['name']],
  ['a name in capitals', { ...TOOL, name: 'GitHub' }, ['name']],
  ['a mistyped field', { ...TOOL, host: HOSTS }, ['host']],
  ['a prototype', JSON.parse('{"description":"x","methods":{"__proto__":{"description":"x","risk":"read"}}}'), ['methods.__proto__']],
  ['a risk that nobody knows', { ...TOOL, methods: { run: { ...METHOD, risk: 'none' } } }, ['methods.run.risk']],
  ['no risk', { ...TOOL, methods: { run: { description: 'x' } } }, ['methods.run.risk']],
  [
    'a method twice',
    {
      ...TOOL,
      methods: [
        { ...METHOD, name: 'a' },
        { ...METHOD, name: 'a' },
      ],
    },
    ['methods.a'],
  ],
  ['a method without a name', { ...TOOL, methods: [METHOD] }, ['methods.[0]']],
  ['no description of a method', { ...TOOL, methods: { run: { risk: 'read', description: ' ' } } }, ['methods.run.description']],
  ['a novel', { ...TOOL, description: 'x'.repeat(5000) }, ['description']],
  ['too many methods', { ...TOOL, methods: Object.fromEntries(Array.from({ length: 201 }, (_, i) => [`m${i}`, METHOD])) }, ['methods']],
  ['arguments that are a list', { ...TOOL, methods: { run: { ...METHOD, input: { type: 'array' } } } }, ['methods.run.input.type']],
  [
    'a schema that refers to elsewhere',
    { ...TOOL, methods: { run: { ...METHOD, input: { properties: { a: { $ref: 'https://evil.example/s' } } } } } },
    ['methods.run.input.properties.a.$ref'],
  ],
  [
    'a schema that cannot be checked',
    { ...TOOL, methods: { run: { ...METHOD, input: { unevaluatedProperties: false } } } },
    ['methods.run.input.unevaluatedProperties'],
  ],
  [
    'a schema of a megabyte',
    { ...TOOL, methods: { run: { ...METHOD, input: { description: 'x'.repeat(100_000) } } } },
    ['methods.run.input'],
  ],
  ['a schema without a bottom', { ...TOOL, methods: { run: { ...METHOD, input: deep(60) } } }, ['']],
  ['a declaration without a bottom', { ...TOOL, methods: { run: { ...METHOD, input: deep(50_000) } } }, ['']],
  ['all hosts', { ...TOOL, hosts: ['*'] }, ['hosts[0]']],
  ['a domain of everybody', { ...TOOL, hosts: ['*.com'] }, ['hosts[0]']],
  ['a URL', { ...TOOL, hosts: ['https://api.example.com/v1'] }, ['hosts[0]']],
  ['an odd address', { ...TOOL, hosts: ['0x7f.1'] }, ['hosts[0]']],
  ['a path that climbs', { ...TOOL, hosts: [{ host: 'api.example.com', paths: ['/v1/../admin'] }] }, ['hosts[0]']],
  ['too many hosts', { ...TOOL, hosts: Array.from({ length: 201 }, (_, i) => `h${i}.example.com`) }, ['hosts']],
  ['a secret for no host', { ...TOOL, secrets: [{ name: 'KEY' }] }, ['secrets[0].hosts']],
  ['a secret in small letters', { ...TOOL, secrets: [{ name: 'key', hosts: HOSTS }] }, ['secrets[0].name']],
  ['a secret of the platform', { ...TOOL, secrets: [{ name: 'CENTAUR_MASTER_KEY', hosts: HOSTS }] }, ['secrets[0].name']],
  ['a secret that changes the process', { ...TOOL, secrets: [{ name: 'NODE_OPTIONS', hosts: HOSTS }] }, ['secrets[0].name']],
  [
    'a secret twice',
    {
      ...TOOL,
      secrets: [
        { name: 'KEY', hosts: HOSTS },
        { name: 'KEY', hosts: HOSTS },
      ],
    },
    ['secrets'],
  ],
  ['a mistyped restriction', { ...TOOL, secrets: [{ name: 'KEY', hosts: HOSTS, path: ['/v1'] }] }, ['secrets[0].path']],
  ['a webhook’s secret', { ...TOOL, secrets: [{ name: 'KEY', hosts: HOSTS, type: 'webhook' }] }, ['secrets[0].type']],
  ['a header that carries no secret', { ...TOOL, secrets: [{ name: 'KEY', hosts: HOSTS, match_headers: ['Host'] }] }, ['secrets[0]']],
  ['two hours', { ...TOOL, timeout: '2h' }, ['timeout']],
  ['no time', { ...TOOL, methods: { run: { ...METHOD, timeout: 0 } } }, ['methods.run.timeout']],
  ['a time that is a text in seconds', { ...TOOL, timeout_s: '5' }, ['timeout_s']],
  ['half a call', { ...TOOL, concurrency: 0.5 }, ['concurrency']],
  ['all of the memory', { ...TOOL, memory_mb: 1e12, processes: '512' }, ['memory_mb', 'processes']],
] as const)
  test(`refused by field: ${what}`, () => {
    assert.deepEqual(problems(told), [...fields]);
  });

test('of thousands of problems some are told', () => {
  const methods = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`m${i}`, { risk: 'x' }]));
  assert.equal(problems({ ...TOOL, methods }).length, 20);
});

function deep(levels: number): object {
  let schema: object = { type: 'object' };
  for (let i = 0; i < levels; i++) schema = { type: 'object', properties: { a: schema } };
  return schema;
}
