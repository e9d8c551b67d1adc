/** Makes Chromium available for the tests of the browser, where a script may install packages. */
import { ensurePackage } from './debian.ts';

/** The same places in the same order as those of the tool. */
const PLACES = ['/usr/bin/chromium-headless-shell', '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

export function ensureChromium(): ReturnType<typeof ensurePackage> {
  return ensurePackage({ what: 'Chromium', packages: ['chromium-headless-shell', 'fonts-liberation'], places: PLACES });
}
