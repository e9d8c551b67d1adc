/**
 * `npm test`: one throwaway Postgres, then every *.test.ts beside the code and in test/.
 *
 *   npm test                        the whole suite on the embedded Postgres 18
 *   npm test -- --postgres 15       the same on Postgres 15
 *   npm test -- kernel/engine       only files whose path contains the text
 *
 * TEST_DATABASE_URL uses a server of your own; its user must be allowed to create databases.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { startEmbeddedPostgres } from '../kernel/store/embedded/index.ts';
import { findBinaries } from '../kernel/store/embedded/binaries.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const args = process.argv.slice(2);
const major = args[0] === '--postgres' ? args.splice(0, 2)[1] : '18';
if (major !== '18' && major !== '15') throw new Error('--postgres: expected 15 or 18');

const files = globSync(['sdk', 'kernel', 'runtime', 'cli', 'examples', 'test'].map((room) => `${room}/**/*.test.ts`), { cwd: root })
  .filter((file) => !file.includes('node_modules') && !file.startsWith('test/faults'))
  .filter((file) => args.length === 0 || args.some((part) => file.includes(part)))
  .sort();
if (files.length === 0) throw new Error(`no test file matches ${args.join(' ')}`);

const folder = mkdtempSync(join(tmpdir(), 'centaur-test-'));
const given = process.env.TEST_DATABASE_URL;
const server =
  given === undefined
    ? await startEmbeddedPostgres({ dataDir: join(folder, 'postgres'), throwaway: true, settings: { max_connections: '300' }, ...(major === '15' ? { binaries: postgres15() } : {}) })
    : undefined;
console.log(`Postgres ${given === undefined ? major : 'of TEST_DATABASE_URL'}, ${files.length} files`);
const code = await new Promise<number>((resolve) => {
  const child = spawn(process.execPath, ['--test', '--test-timeout=120000', '--test-concurrency=2', '--test-reporter=spec', ...files], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, NODE_NO_WARNINGS: '1', TEST_DATABASE_URL: given ?? (server as { url: string }).url },
  });
  child.on('exit', (status) => resolve(status ?? 1));
});
await server?.stop();
rmSync(folder, { recursive: true, force: true });
process.exit(code);

/** A package of its own, so that a newcomer's install does not carry two servers. */
function postgres15(): string {
  const home = join(root, 'test/pg15');
  if (!existsSync(join(home, 'node_modules'))) {
    const installed = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: home, stdio: 'inherit' });
    if (installed.status !== 0) throw new Error('installing Postgres 15 failed: run npm ci in test/pg15 to see why');
  }
  return findBinaries(pathToFileURL(join(home, 'package.json')).href);
}
