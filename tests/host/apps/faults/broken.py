# SPDX-License-Identifier: LGPL-2.1-or-later
import a_module_that_is_not_there


def handle(event, context):
    return a_module_that_is_not_there
