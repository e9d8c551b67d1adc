/**
 * The real CLIs, at the versions that their codecs were recorded with. About a gigabyte, in a folder that outlives the run:
 * CENTAUR_HARNESS_DIR, or one of this user's in the system's temporary folder.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { harnesses } from '../../runtime/harness/index.ts';
import type { Installed } from './drive.ts';

export const REAL = ['claude', 'codex', 'pi'] as const;
export type Real = (typeof REAL)[number];

const PACKAGES: Readonly<Record<Real, string>> = {
  claude: '@anthropic-ai/claude-code',
  codex: '@openai/codex',
  pi: '@mariozechner/pi-coding-agent',
};
const MODELS: Readonly<Record<Real, string>> = { claude: 'claude-sonnet-4-5', codex: 'gpt-5-codex', pi: 'scripted' };
const PATIENCE_MS = 120_000;
const INSTALL_MS = 240_000;

export function findCli(kind: Real): Installed {
  const folder = join(installFolder(), 'node_modules', PACKAGES[kind]);
  const { version, bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    version: string;
    bin: Record<string, string>;
  };
  const { tested } = harnesses[kind].launch;
  if (version !== tested) throw new Error(`${kind} is installed as ${version}, and its codec was recorded with ${tested}`);
  const file = join(folder, bin[kind] ?? '');
  return { kind, command: file.endsWith('.js') ? [process.execPath, file] : [file], model: MODELS[kind], patienceMs: PATIENCE_MS };
}

/** Installs those that are missing, and leaves alone what is there. */
export function installClis(kinds: readonly Real[]): void {
  const missing = kinds.filter((kind) => !isInstalled(kind));
  if (missing.length === 0) return;
  const folder = installFolder();
  // sandboxes read it, as users of their own
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  // in a shared temporary folder somebody else may have been faster
  if (statSync(folder).uid !== userInfo().uid)
    throw new Error(`${folder} belongs to another user: set CENTAUR_HARNESS_DIR to a folder of your own.`);
  if (!existsSync(join(folder, 'package.json'))) writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  const names = missing.map((kind) => `${PACKAGES[kind]}@${harnesses[kind].launch.tested}`);
  console.log(`installing ${names.join(', ')} into ${folder}`);
  const about = ['install', '--no-audit', '--no-fund', '--save-exact', ...names];
  const { status, error } = spawnSync('npm', about, { cwd: folder, stdio: 'inherit', timeout: INSTALL_MS });
  if (status !== 0) throw new Error(`npm could not install them: ${error?.message ?? `exit code ${status}`}`);
}

function isInstalled(kind: Real): boolean {
  try {
    return spawnSync(findCli(kind).command[0], ['--version'], { timeout: 30_000 }).status === 0;
  } catch {
    return false;
  }
}

export function installFolder(): string {
  return process.env.CENTAUR_HARNESS_DIR ?? join(tmpdir(), `centaur-harnesses-${userInfo().uid}`);
}
