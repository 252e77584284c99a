"""The permission to act on queues, messages and sessions in the admin."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("queues", "0001_initial")]

    operations = [
        migrations.AlterModelOptions(
            name="diagnostics",
            options={
                "verbose_name": "diagnostics",
                "verbose_name_plural": "diagnostics",
                "managed": False,
                "default_permissions": ("view",),
                "permissions": (("operate_switch", "Can act on queues, messages and sessions"),),
                "base_manager_name": "objects",
            },
        ),
    ]
