/** Linear: issues, comments, projects, teams, users. See README.md. */
import { defineTool } from '@centaur/sdk';
import { hostOf } from '../_shared/rest.ts';
import { API } from './api.ts';
import { issueMethods } from './issues.ts';
import { workspaceMethods } from './workspace.ts';

export default defineTool({
  description: 'Linear: issues, comments, projects, teams, people, search.',
  secrets: [
    {
      name: 'LINEAR_API_KEY',
      hosts: [hostOf(API)],
      methods: ['POST'],
      paths: ['/graphql'],
      match_headers: ['authorization'],
      description: 'A personal API key (lin_api_…): Linear, Settings, Security & access. Or "Bearer " and a token of an OAuth app',
    },
  ],
  methods: { ...issueMethods, ...workspaceMethods },
});
