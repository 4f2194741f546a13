// Grants: what an administrator lets the containers of an App do with the machines that they run on. The one place where that is decided;
// plans, whatever places an Instance later, and the Nodes ask here. A grant is of the App itself, not of its name, and goes with it.

import type { table } from '../../api/table.ts';
import { Failure } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import type { App, Environment, HostGrant } from '../../model/documents.ts';
import { describePower, hostPowerText, isGranted, parseHostPower, powersAsked } from '../../model/host-powers.ts';
import type { HostPower } from '../../model/host-powers.ts';
import type { EntrypointSpec } from '../../model/manifest-types.ts';
import { isName } from '../../model/names.ts';
import type { Operation } from '../../store/collection.ts';
import { create, remove } from '../../store/records.ts';
import type { View } from '../../store/view.ts';
import { appRecords } from '../apps/records.ts';
import type { ControlContext } from '../context.ts';
import type { NounHandlers } from '../handler.ts';
import { findApp } from '../lookup.ts';
import { pageOf } from '../server-page.ts';
import { hostGrantRecords } from './records.ts';

type Handlers = NounHandlers<typeof table.grants>;
type Reply = Awaited<ReturnType<Handlers['list']>>['items'][number];

const MOST_PER_APP = 100;

/** What the containers of an App may do with their machine in one Environment. */
export function grantedTo(view: View, appId: string, environment: string | null): readonly HostPower[] {
  return view
    .by(hostGrantRecords, 'app', appId)
    .map(({ document }) => document)
    .filter((grant) => grant.environment === null || grant.environment === environment)
    .map(({ power }) => power);
}

interface Refused {
  readonly message: string;
  readonly hint: string;
}

/** What an Entrypoint asks of its machine and no administrator has granted, in words. */
export function powersRefused(
  view: View,
  where: { readonly app: App | null; readonly appName: string; readonly environmentName: string },
  { name, container }: EntrypointSpec,
): readonly Refused[] {
  if (container?.host === undefined) return [];
  const { app, appName, environmentName } = where;
  const granted = app === null ? [] : grantedTo(view, app.id, environmentName);
  return powersAsked(container.host)
    .filter((power) => !isGranted(granted, power))
    .map((power) => ({
      message: `${name} of ${appName} asks for ${describePower(power)}, which no administrator has granted.`,
      hint: `An administrator grants it with: ${app === null ? `libra apps create ${appName}, then ` : ''}libra grants add ${appName}/${environmentName} ${hostPowerText(power)}`,
    }));
}

/** The first of these in an Environment that is there, as it is now: a grant may have been taken back since the plan. */
export function powerRefusedIn(view: View, { appId, name }: Environment, entrypoint: EntrypointSpec): Refused | undefined {
  const app = view.get(appRecords, appId)?.document ?? null;
  return powersRefused(view, { app, appName: app?.name ?? appId, environmentName: name }, entrypoint)[0];
}

/** Takes all of an App's. */
export function removeGrantsOf(view: View, appId: string): readonly Operation[] {
  return view.by(hostGrantRecords, 'app', appId).map((stored) => remove(hostGrantRecords, stored));
}

export function createGrantHandlers(context: ControlContext): Handlers {
  const { view, clock, random } = context;

  const reply = (grant: HostGrant): Reply => ({
    id: grant.id,
    app: view.get(appRecords, grant.appId)?.document.name ?? '',
    environment: grant.environment,
    power: hostPowerText(grant.power),
    createdAtMs: grant.createdAtMs,
    createdBy: grant.createdBy,
  });
  const tell = (kind: string, grant: HostGrant, message: string): void => {
    const { app, environment, power } = reply(grant);
    const whose = environment === null ? app : `${app}/${environment}`;
    context.event({ level: 'info', kind, message: `${message} ${power} (containers of ${whose}).`, subject: { appId: grant.appId } });
  };

  return {
    list: async (call) => {
      const page = pageOf(
        view.list(hostGrantRecords).map(({ document }) => document),
        call.query,
        { list: 'grants', keyOf: (grant) => grant.id, order: 'ascending' },
      );
      return { items: page.items.map(reply), next: page.next };
    },
    create: async (call) => {
      const { environment } = call.body;
      const power = parseHostPower(call.body.power);
      if (typeof power === 'string')
        throw new Failure('invalid_input', {
          message: `This cannot be granted: ${power}.`,
          hint: 'One of privileged, network, device:<path>, folder:<path>, folder:<path>:ro',
        });
      if (environment !== undefined && !isName(environment))
        throw new Failure('invalid_input', { message: `${JSON.stringify(environment)} is no name of an Environment.` });
      const app = findApp(view, call.params.app).document;
      const there = view.by(hostGrantRecords, 'app', app.id).map(({ document }) => document);
      const text = hostPowerText(power);
      const same = there.find((grant) => grant.environment === (environment ?? null) && hostPowerText(grant.power) === text);
      if (same !== undefined) return reply(same);
      if (there.length >= MOST_PER_APP)
        throw new Failure('rate_limited', {
          message: `${app.name} has ${MOST_PER_APP} grants already.`,
          hint: 'Take some back: libra grants',
        });
      const nowMs = clock.now();
      const grant: HostGrant = {
        id: newId(nowMs, random),
        appId: app.id,
        environment: environment ?? null,
        power,
        createdAtMs: nowMs,
        createdBy: call.principal.name,
      };
      await view.commit(create(hostGrantRecords, grant));
      tell('grant.created', grant, `${call.principal.name} granted`);
      return reply(grant);
    },
    delete: async (call) => {
      const stored = view.get(hostGrantRecords, call.params.grant);
      if (stored === undefined)
        throw new Failure('not_found', { message: `There is no grant ${call.params.grant}.`, hint: '`libra grants` lists them.' });
      await view.commit(remove(hostGrantRecords, stored));
      tell('grant.removed', stored.document, `${call.principal.name} took back`);
    },
  };
}
