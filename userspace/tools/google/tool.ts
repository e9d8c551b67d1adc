/** Google: calendar, Drive and Gmail. See README.md. */
import { defineTool } from '@centaur/sdk';
import { hostOf } from '../_shared/rest.ts';
import { API, MAIL, TOKEN } from './api.ts';
import { calendarMethods } from './calendar.ts';
import { driveMethods } from './drive.ts';
import { mailMethods } from './mail.ts';

export default defineTool({
  description: 'Google: events and free time in calendars, files in Drive, mail in Gmail.',
  secrets: [
    {
      name: TOKEN,
      type: 'oauth_token',
      hosts: [...new Set([hostOf(API), hostOf(MAIL)])],
      match_headers: ['authorization'],
      description:
        'A refresh token of an account, with the options grant=refresh_token, token_url, client_id, client_secret: see its README',
    },
  ],
  methods: { ...calendarMethods, ...driveMethods, ...mailMethods },
});
