import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ConfigFileError, importIronProxy, parseConfig, renderImport } from './index.ts';

const PROXY = `
proxy:
  http_listen: ":8080"
tls: {ca_cert: /ca.crt}
transforms:
  - name: allowlist
    config:
      domains: ["*.pypi.org", registry.npmjs.org]
      rules:
        - {host: api.github.com, methods: [GET], paths: [/repos/*]}
        - {host: "*"}
        - {cidr: 10.0.0.0/8}
  - name: secrets
    config:
      secrets:
        - source: {type: env, var: OPENAI_API_KEY}
          replace: {proxy_value: OPENAI_API_KEY, match_headers: [Authorization], match_body: true}
          rules: [{host: api.openai.com}]
        - source: {type: 1password, ref: op://x}
          inject: {header: X-Token, formatter: "Token {{ .Value }}"}
          id: other
          rules: [{host: "*.other.dev", paths: [/v1/*]}]
  - name: judge
    config: {model: some}
`;

test('a configuration of iron-proxy becomes a centaur.yaml and commands that make its secrets', () => {
  const imported = importIronProxy(PROXY, 'proxy.yaml');
  assert.deepEqual(imported.egress, {
    allow: [
      { host: 'api.github.com', methods: ['GET'], paths: ['/repos/*'] },
      { host: 'pypi.org' },
      { host: '*.pypi.org' },
      { host: 'registry.npmjs.org' },
    ],
    allow_cidrs: ['10.0.0.0/8'],
  });
  assert.deepEqual(imported.secrets, [
    {
      name: 'OPENAI_API_KEY',
      type: 'http',
      source: { type: 'env', variable: 'OPENAI_API_KEY' },
      hosts: ['api.openai.com'],
      match_headers: ['Authorization'],
      match_body: true,
    },
    {
      name: 'OTHER',
      type: 'http',
      source: undefined,
      hosts: ['other.dev', '*.other.dev'],
      paths: ['/v1/*'],
      inject: { header: 'X-Token', format: 'Token {value}' },
    },
  ]);
  const text = renderImport(imported);
  assert.match(
    text,
    /centaur secrets set OPENAI_API_KEY --host api\.openai\.com --header Authorization --in-body --source '\{"type":"env","variable":"OPENAI_API_KEY"\}'/,
  );
  assert.match(text, /--inject 'X-Token: Token \{value\}'/);
  for (const what of [
    /host "\*" is not taken over/,
    /judge: not taken over/,
    /tls: the CA is made/,
    /OTHER: its source "1password" is not known/,
  ])
    assert.match(text, what);
  assert.deepEqual(parseConfig(text, 'centaur.yaml').egress, imported.egress);
});

test('what iron-proxy itself does not know is an error', () => {
  assert.throws(
    () => importIronProxy('proxi: {}', 'p.yaml'),
    (error: ConfigFileError) => error.problems[0] === 'line 1: proxi: not a key of iron-proxy',
  );
  assert.throws(() => importIronProxy('transforms: [{name: secret}]', 'p.yaml'), /transforms\[0\]\.name: "secret" is not a transform/);
});
