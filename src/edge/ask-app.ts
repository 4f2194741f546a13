// Asks an App whether a host is one of its own: by a GET of a path that its Route names, to any Instance that takes requests.

import type { Ask } from '../proxy/ask.ts';
import type { PickFacts } from '../proxy/target-group.ts';
import type { Groups } from '../dataplane/groups.ts';
import type { OnDemandDeps } from '../dataplane/tls/on-demand.ts';

const FACTS: PickFacts = { header: () => undefined, secure: true };

/** 2xx is yes, what is below 500 no; an App that is not there or in trouble says nothing. */
export function createAskApp(groups: Groups, ask: Ask): OnDemandDeps['ask'] {
  return async ({ group, path }, host) => {
    const picked = groups.get(group)?.pick(FACTS, null) ?? null;
    if (picked === null || picked === 'busy') return null;
    const status = await ask(picked.target, `${path}${path.includes('?') ? '&' : '?'}host=${host}`);
    return status === null || status >= 500 ? null : status >= 200 && status < 300;
  };
}
