/* demo.c - what runs when nobody configured anything (chapter 5, 2.10): everything on, reachable from here
 * only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/load.h"

const char demo_profile_toml[] = "host = '127.0.0.1'\n"
                                 "queue.driver = 'memory'\n"
                                 "rate_limiter.enabled = false\n"
                                 "connection_recovery.enabled = true\n"
                                 "\n"
                                 "[history]\n"
                                 "enabled = true\n"
                                 "backend = 'rocksdb'\n"
                                 "retention_window_seconds = 86400\n"
                                 "\n"
                                 "[versioned_messages]\n"
                                 "enabled = true\n"
                                 "driver = 'rocksdb'\n"
                                 "retention_window_seconds = 86400\n"
                                 "\n"
                                 "[ai_transport]\n"
                                 "enabled = true\n"
                                 "channels = [{ prefix = 'private-ai-' }, { prefix = 'ai-' }]\n"
                                 "\n"
                                 "[[app_manager.array.apps]]\n"
                                 "id = 'app-id'\n"
                                 "key = 'app-key'\n"
                                 "secret = 'app-secret'\n"
                                 "enabled = true\n"
                                 "policy.features.enable_client_messages = true\n"
                                 "policy.features.enable_user_authentication = true\n";
