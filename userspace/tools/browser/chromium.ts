/** The one Chromium of this process: started with the first call, ended when nobody has had a page open for a while. */
import { createHash, X509Certificate } from 'node:crypto';
import { accessSync, constants, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ToolFailure } from '@centaur/sdk';
import type { Browser } from 'playwright-core';

/** The small one first: it has no windows, no extensions and no pages of its own, and takes less memory. */
const PLACES = ['/usr/bin/chromium-headless-shell', '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
export const PLACE = 'BROWSER_PATH';

const START_MS = 30_000;
/** Of one page's scripts: whatever needs more ends its page and not the browser. */
const HEAP_MB = 256;

/**
 * What Playwright says for the sake of tests, and is not for pages of strangers: windows without a click, floods of messages, graphics
 * by a renderer that its makers call unsafe.
 */
const NOT = [
  '--disable-popup-blocking',
  '--disable-ipc-flooding-protection',
  '--unsafely-disable-devtools-self-xss-warnings',
  '--enable-unsafe-swiftshader',
  '--allow-pre-commit-input',
];

export async function startChromium(): Promise<Browser> {
  const { chromium } = await import('playwright-core');
  const executablePath = findChromium();
  const folder = join(tmpdir(), 'browser');
  mkdirSync(folder, { recursive: true });
  try {
    return await chromium.launch({
      executablePath,
      headless: true,
      // the sandbox that this process is in is what holds it: in there nobody may make another
      chromiumSandbox: false,
      args: argsFor(authorityHashes()),
      ignoreDefaultArgs: NOT,
      // each session has a way of its own; what has none gets nowhere
      proxy: { server: 'http://127.0.0.1:9', bypass: '<-loopback>' },
      // nothing of ours: no placeholder, no token
      env: { PATH: '/usr/bin:/bin', HOME: folder, TMPDIR: tmpdir(), LANG: 'C.UTF-8', FONTCONFIG_FILE: writeFontSettings(folder) },
      handleSIGHUP: false,
      handleSIGINT: false,
      handleSIGTERM: false,
      timeout: START_MS,
    });
  } catch (error) {
    throw new ToolFailure('BROWSER_NOT_STARTED', `Chromium (${executablePath}) did not start: ${why(error)}`, {
      cause: error,
      retryable: true,
    });
  }
}

function argsFor(authorities: readonly string[]): string[] {
  return [
    // what the firewall shows for each site is signed by its own authority. There is no other way out than the firewall,
    // which checks the certificates of the sites themselves
    `--ignore-certificate-errors-spki-list=${authorities.join(',')}`,
    // names are the firewall's to resolve
    '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
    '--disable-quic',
    '--force-webrtc-ip-handling-policy=disable_non_proxied_udp',
    '--webrtc-ip-handling-policy=disable_non_proxied_udp',
    '--no-pings',
    '--disable-domain-reliability',
    '--disable-crash-reporter',
    '--disable-crashpad-for-testing',
    '--disable-gpu',
    '--disable-3d-apis',
    '--disable-notifications',
    '--disable-speech-api',
    '--disable-file-system',
    '--disable-databases',
    `--js-flags=--max-old-space-size=${HEAP_MB}`,
    // each would be a process of its own
    '--no-zygote',
    '--in-process-gpu',
  ];
}

/** SHA-256 of the public keys of the authorities that this process was given. */
function authorityHashes(): string[] {
  const file = process.env['NODE_EXTRA_CA_CERTS'];
  if (file === undefined) return [];
  const certificates = readFileSync(file, 'utf8').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return certificates.map((pem) =>
    createHash('sha256')
      .update(new X509Certificate(pem).publicKey.export({ type: 'spki', format: 'der' }))
      .digest('base64'),
  );
}

function findChromium(): string {
  const given = process.env[PLACE];
  const places = given === undefined || given === '' ? PLACES : [given];
  const found = places.find(isExecutable);
  if (found !== undefined) return found;
  throw new ToolFailure(
    'NO_BROWSER',
    `There is no Chromium at ${places.join(', ')}. An operator installs one on the server (apt-get install chromium-headless-shell ` +
      `fonts-liberation), or names another by ${PLACE} in tools.env of centaur.yaml; it has to be below /usr, of which sandboxes see a copy.`,
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** A sandbox has none of the system's settings. */
function writeFontSettings(folder: string): string {
  const file = join(folder, 'fonts.conf');
  const families = [
    ['sans-serif', 'Liberation Sans'],
    ['serif', 'Liberation Serif'],
    ['monospace', 'Liberation Mono'],
    ['Arial', 'Liberation Sans'],
    ['Helvetica', 'Liberation Sans'],
    ['Times New Roman', 'Liberation Serif'],
    ['Courier New', 'Liberation Mono'],
  ].map(([family, font]) => `<alias><family>${family}</family><prefer><family>${font}</family></prefer></alias>`);
  writeFileSync(
    file,
    `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><dir>/usr/share/fonts</dir><dir>/usr/local/share/fonts</dir>` +
      `<cachedir>${folder}/fonts</cachedir>${families.join('')}</fontconfig>`,
  );
  return file;
}

/** Of a text that is a page long, the lines that say something. */
function why(error: unknown): string {
  const lines = (error as Error).message.split('\n').filter((line) => /error|fail|cannot|denied|not /i.test(line) && !line.includes('--'));
  return (lines.slice(0, 3).join(' ') || ((error as Error).message.split('\n')[0] ?? '')).slice(0, 500);
}
