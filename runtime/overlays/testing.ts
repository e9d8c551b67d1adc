/** What tests of overlays share: real folders and real repositories. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';

export type Files = Readonly<Record<string, string>>;

export function folder(t: Pick<TestContext, 'after'>, files: Files = {}): string {
  const place = fs.realpathSync(fs.mkdtempSync(path.join(tmpdir(), 'centaur-overlays-')));
  t.after(() => fs.rmSync(place, { recursive: true, force: true }));
  write(place, files);
  return place;
}

export function write(place: string, files: Files): void {
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(place, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
  }
}

export interface TestRepository {
  readonly folder: string;
  readonly url: string;
  /** Commits these files besides those that are there. @returns the commit */
  commit(files: Files): string;
  /** Commits a tree that was made by hand. */
  commitTree(tree: string): string;
  blob(text: string): string;
  /** @param entries lines as `git mktree` takes them */
  tree(...entries: readonly string[]): string;
  git(args: readonly string[], stdin?: string): string;
}

export function repository(t: Pick<TestContext, 'after'>, files: Files = { 'README.md': 'An overlay.\n' }): TestRepository {
  const place = folder(t);
  const identity = {
    GIT_AUTHOR_NAME: 'A',
    GIT_AUTHOR_EMAIL: 'a@example.com',
    GIT_COMMITTER_NAME: 'A',
    GIT_COMMITTER_EMAIL: 'a@example.com',
  };
  const env = { PATH: process.env['PATH'], HOME: place, GIT_CONFIG_NOSYSTEM: '1', ...identity };
  const git = (args: readonly string[], stdin = ''): string =>
    execFileSync('git', args, { cwd: place, env, input: stdin, stdio: ['pipe', 'pipe', 'pipe'] })
      .toString()
      .trim();
  git(['init', '--quiet', '--initial-branch=main']);
  const made: TestRepository = {
    folder: place,
    url: `file://${place}`,
    commit(more) {
      write(place, more);
      git(['add', '--all']);
      git(['commit', '--quiet', '--allow-empty', '--message', 'change']);
      return git(['rev-parse', 'HEAD']);
    },
    commitTree(tree) {
      const commit = git(['commit-tree', tree, '-m', 'made by hand']);
      git(['update-ref', 'refs/heads/main', commit]);
      return commit;
    },
    blob: (text) => git(['hash-object', '-w', '--stdin'], text),
    tree: (...entries) => git(['mktree', '-z', '--missing'], entries.map((entry) => `${entry}\0`).join('')),
    git,
  };
  made.commit(files);
  return made;
}

export const TOOL = (name: string): string => `import { defineTool, method } from '@centaur/sdk';
export default defineTool({
  name: '${name}',
  description: 'A tool.',
  methods: { now: method({ description: 'Now.', risk: 'read', run: () => 0 }) },
});
`;

export const WORKFLOW = (name: string, result = name): string =>
  `export const WORKFLOW_NAME = '${name}';\nexport const handler = () => '${result}';\n`;

export const SKILL = (name: string, text = 'Do it well.'): string => `---\nname: ${name}\ndescription: How to do it.\n---\n${text}\n`;
