// Every endpoint of the platform: noun → verb → endpoint. Server, client, OpenAPI and tests all walk this.

import { agent } from './agent.ts';
import { dataplane } from './dataplane.ts';
import { apps, releases } from './endpoints/apps.ts';
import { blobs } from './endpoints/blobs.ts';
import { config } from './endpoints/config.ts';
import { deployments, plans } from './endpoints/deployments.ts';
import { discovery } from './endpoints/discovery.ts';
import { domains } from './endpoints/domains.ts';
import { env, environments, secrets } from './endpoints/environments.ts';
import { events } from './endpoints/events.ts';
import { grants } from './endpoints/grants.ts';
import { instances } from './endpoints/instances.ts';
import { kv } from './endpoints/kv.ts';
import { locks } from './endpoints/locks.ts';
import { machines } from './machines.ts';
import { invitations, nodes, runtimes } from './endpoints/nodes.ts';
import { requests } from './endpoints/requests.ts';
import { routes } from './endpoints/routes.ts';
import { sessions } from './endpoints/sessions.ts';
import { system } from './endpoints/system.ts';

export const table = {
  system,
  apps,
  releases,
  plans,
  environments,
  env,
  secrets,
  deployments,
  instances,
  sessions,
  blobs,
  runtimes,
  nodes,
  invitations,
  grants,
  events,
  requests,
  routes,
  domains,
  kv,
  locks,
  config,
  discovery,
  machines,
  agent,
  dataplane,
};
export type ApiTable = typeof table;
