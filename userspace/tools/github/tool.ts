/** GitHub: issues, pull requests, reviews, Actions, files. See README.md. */
import { defineTool } from '@centaur/sdk';
import { hostOf } from '../_shared/rest.ts';
import { actionMethods } from './actions.ts';
import { API } from './api.ts';
import { contentMethods } from './contents.ts';
import { issueMethods } from './issues.ts';
import { pullMethods } from './pulls.ts';

export default defineTool({
  description: 'GitHub: issues, pull requests, reviews, runs of Actions, files and branches, search.',
  secrets: [
    {
      name: 'GITHUB_TOKEN',
      hosts: [hostOf(API)],
      match_headers: ['authorization'],
      description: 'A fine-grained personal access token, or one of a GitHub App: https://github.com/settings/personal-access-tokens',
    },
  ],
  methods: { ...issueMethods, ...pullMethods, ...actionMethods, ...contentMethods },
});
