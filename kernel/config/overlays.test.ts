import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError, ConfigFileError, loadConfig, parseConfig } from './index.ts';
import { parseOverlayList } from './overlays.ts';

function read(text: string): unknown[] {
  const { entries, problems } = parseOverlayList(text, '/here');
  assert.deepEqual(problems, []);
  return entries.map((entry) => (entry.kind === 'folder' ? [entry.name, entry.path] : [entry.name, entry.url, entry.ref, entry.dir]));
}

const problem = (text: string): string => parseOverlayList(text, '/here').problems.join('\n');

test('folders and repositories, separated by commas', () => {
  assert.deepEqual(
    read(
      'sales, /srv/overlays/ops,,https://git.example/acme/crm.git#v1.2:overlays/crm/,git@git.example:acme/crm.git#release/2,' +
        'ssh://git@git.example:2222/acme/x,file:///srv/repo.git#:in/it',
    ),
    [
      ['sales', '/here/sales'],
      ['ops', '/srv/overlays/ops'],
      ['crm', 'https://git.example/acme/crm.git', 'v1.2', 'overlays/crm'],
      ['crm-2', 'git@git.example:acme/crm.git', 'release/2', ''],
      ['x', 'ssh://git@git.example:2222/acme/x', 'HEAD', ''],
      ['repo', 'file:///srv/repo.git', 'HEAD', 'in/it'],
    ],
  );
});

test('what could be meant for a program, or would be kept where it is read, is refused', () => {
  for (const [text, said] of [
    ['http://git.example/a.git', /^"http:\/\/git\.example\/a\.git": whoever is on the way could change/],
    ['git://git.example/a.git', /https:\/\/ or ssh:\/\//],
    ['ext::sh -c id', /space or a control character/],
    ['ext::id', /expected https:\/\//],
    ['ftp://git.example/a', /expected https:\/\//],
    ['ssh://-oProxyCommand=id/a', /host is not usable|expected https/],
    ['-x@host:a', /expected https:\/\//],
    ['git@-oProxyCommand=id:a', /expected https:\/\//],
    ['https://git.example/', /names no repository/],
    ['https://git.example/a?x=1', /no "\?"/],
    ['file://host/a', /expected file:\/\/\/folder/],
    ['https://h.example/a#-x', /ref is not usable/],
    ['https://h.example/a#a..b', /ref is not usable/],
    ['https://h.example/a#x.lock', /ref is not usable/],
    ['https://h.example/a#main:../x', /folder is not usable/],
    ['https://h.example/a#main:a/.git', /folder is not usable/],
    ['https://h.example/a#main:/abs', /folder is not usable/],
  ] as const)
    assert.match(problem(text), said, text);
  const secret = problem('https://robot:hunter2@git.example/a.git');
  assert.match(secret, /keep passwords and tokens out of it/);
  assert.doesNotMatch(secret, /hunter2/);
});

test('the environment names every one that is wrong, and says where the lock file is', () => {
  const home = { HOME: '/nowhere' };
  assert.throws(
    () => loadConfig({ ...home, CENTAUR_OVERLAYS: 'http://a.example/x,ok,git://b.example/y' }, '/'),
    (error: Error) => error instanceof ConfigError && /CENTAUR_OVERLAYS: "http:\/\/a.*\n.*CENTAUR_OVERLAYS: "git:/.test(error.message),
  );
  const config = loadConfig({ ...home, CENTAUR_OVERLAYS: 'ok' }, '/');
  assert.deepEqual(
    [config.overlays, config.overlayLock],
    [[{ kind: 'folder', name: 'ok', path: '/ok' }], '/nowhere/.centaur/centaur.lock'],
  );
  assert.equal(loadConfig(home, '/').overlays, undefined);
});

test('centaur.yaml has a list of them, or one that is frozen; paths are from where it is', () => {
  const list = '\n  - {path: sales}\n  - {git: "https://git.example/crm.git", ref: v1, dir: in, name: customers}\n';
  const entries = [
    { kind: 'folder', name: 'sales', path: '/etc/centaur/sales' },
    { kind: 'git', name: 'customers', url: 'https://git.example/crm.git', ref: 'v1', dir: 'in' },
  ];
  assert.deepEqual(parseConfig(`overlays:${list}`, '/etc/centaur/centaur.yaml').overlays, { entries, frozen: false });
  assert.deepEqual(parseConfig(`overlays: {frozen: true, sources: [{path: sales}]}`, '/etc/centaur/centaur.yaml').overlays, {
    entries: entries.slice(0, 1),
    frozen: true,
  });
  for (const [source, said] of [
    ['overlays:\n  - {path: a}\n  - {path: a, git: x}', ['line 3: overlays.1: give "path" or "git", not both']],
    ['overlays:\n  - {ref: main}', ['line 2: overlays.0: expected "path", a folder, or "git", the address of a repository']],
    ['overlays:\n  - {path: a, ref: main}', ['line 2: overlays.0: "ref" and "dir" are for repositories: a folder is taken as it is']],
    ['overlays:\n  - path: a\n    branch: main', ['line 3: overlays.0.branch: unknown key']],
    ['overlays: {sources: []}\n', undefined],
    ['overlays:\n  frozen: 1', ['line 2: overlays.frozen: Invalid input: expected boolean, received number']],
  ] as const) {
    let problems: readonly string[] | undefined;
    try {
      parseConfig(source, '/etc/centaur/centaur.yaml');
    } catch (error) {
      assert.ok(error instanceof ConfigFileError);
      ({ problems } = error);
    }
    assert.deepEqual(problems, said, source);
  }
});
