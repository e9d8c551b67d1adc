/** Any REST API that has an OpenAPI 3 document. See README.md. */
import { createHttpTool } from './create.ts';
import { APIS, HOSTS } from './apis.ts';

export default createHttpTool(APIS, HOSTS);
