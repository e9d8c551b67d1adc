/** Slack: messages, channels, people, reactions, files, modals. See README.md. */
import { defineTool } from '@centaur/sdk';
import { hostOf } from '../_shared/rest.ts';
import { API } from './api.ts';
import { fileMethods } from './files.ts';
import { messageMethods } from './messages.ts';
import { peopleMethods } from './people.ts';
import { viewMethods } from './views.ts';

const FILES = 'files.slack.com';

export default defineTool({
  description: 'Slack: messages, threads, channels, people, reactions, files, modals, search.',
  secrets: [
    {
      name: 'SLACK_BOT_TOKEN',
      hosts: [hostOf(API), FILES],
      match_headers: ['authorization'],
      description: 'Bot User OAuth Token (xoxb-…) of a Slack app: https://api.slack.com/apps, OAuth & Permissions',
    },
    {
      name: 'SLACK_USER_TOKEN',
      hosts: [hostOf(API)],
      methods: ['POST'],
      paths: [`${new URL(API).pathname}/search.messages`],
      match_headers: ['authorization'],
      optional: true,
      description: 'User OAuth Token (xoxp-…) with search:read, for search_messages only',
    },
  ],
  // where uploads go, to addresses that are their own permission
  hosts: [{ host: FILES, methods: ['POST'], paths: ['/upload/*'] }],
  methods: { ...messageMethods, ...peopleMethods, ...fileMethods, ...viewMethods },
});
