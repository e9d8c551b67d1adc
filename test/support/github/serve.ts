/**
 * The GitHub of the tests as a server of its own, for the guide: `node test/support/github/serve.ts FILE`. It writes into the file what
 * the bot needs to know of it, as a shell reads it, and delivers to where the bot listens.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { WEBHOOK_PATH } from '@centaur/ingress/github';
import { freePort } from '../ports.ts';
import { BOT_TOKEN, startGitHub, WEBHOOK_SECRET } from './index.ts';

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error('usage: node test/support/github/serve.ts FILE');

const github = await startGitHub();
const port = await freePort();
github.pointAt(`http://127.0.0.1:${port}${WEBHOOK_PATH}`);

const known = {
  GITHUB_API_URL: github.url,
  GITHUB_BOT_TOKEN: BOT_TOKEN,
  GITHUB_WEBHOOK_SECRET: WEBHOOK_SECRET,
  GITHUB_BOT_PORT: port,
  REPOSITORY: `${github.url}/repos/acme/site`,
};
const lines = Object.entries(known).map(([name, value]) => `export ${name}=${value}\n`);
// whole, or not there
writeFileSync(`${file}.new`, lines.join(''));
renameSync(`${file}.new`, file);
process.on('SIGTERM', () => process.exit());
