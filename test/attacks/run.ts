/** `npm run test:attacks`: every way we know to get a secret out, or past a rule, on one throwaway Postgres. Arguments as for `npm test`. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const wanted = process.argv.slice(2).map((name) => `test/attacks/${name}`);
const child = spawn(process.execPath, ['test/run.ts', ...(wanted.length === 0 ? ['test/attacks/'] : wanted)], {
  cwd: ROOT,
  stdio: 'inherit',
});
child.on('exit', (code) => (process.exitCode = code ?? 1));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
