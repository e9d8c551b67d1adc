/** A browser: pages of the sites that the operator names, opened, read, clicked and filled. See README.md. */
import { defineTool } from '@centaur/sdk';
import { methods } from './methods.ts';
import { hosts, secrets } from './settings.ts';

export default defineTool({
  description:
    'A web browser for pages that need one: opens them, reads them, clicks, fills forms, takes pictures. Cookies last as long as the conversation uses it.',
  hosts,
  secrets,
  timeout: '90s',
  // Chromium and a few pages
  memory_mb: 1536,
  processes: 512,
  methods,
});
