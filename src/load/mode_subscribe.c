/* mode_subscribe.c - subscribers alone; somebody else publishes (`publish` and `append` write the same
 * marks).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/rig.h"

int mode_subscribe(const struct options *o)
{
    struct rig *rig = rig_new(o, "subscribe");
    if (!rig)
        return 1;
    struct swarm swarm;
    swarm_init(&swarm, &rig->wire, o, rig->peer);
    bool fine = swarm_start(&swarm);
    swarm.from_ns = 0;
    swarm.to_ns = UINT64_MAX;
    rig_begin(rig);
    rig_turn_ms(rig, o->seconds * 1000);
    rig_end(rig);
    rig_report_rate(rig, "deliveries", swarm.deliveries);
    rig_report_swarm(rig, &swarm);
    fine = fine && swarm.lost == 0 && swarm.order_errors == 0 && swarm.serial_errors == 0;
    swarm_free(&swarm);
    return rig_free(rig) || !fine;
}
