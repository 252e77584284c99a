"""The tables of the journal."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("queues", "0002_operate_switch"),
    ]

    operations = [
        migrations.CreateModel(
            name="StoredKey",
            fields=[
                ("name", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("queue", models.CharField(max_length=255)),
                ("key", models.BinaryField()),
                ("body", models.BinaryField()),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="StoredMark",
            fields=[
                ("id", models.IntegerField(primary_key=True, serialize=False)),
                ("number", models.BigIntegerField()),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="StoredMessage",
            fields=[
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("queue", models.CharField(max_length=255)),
                ("body", models.BinaryField()),
                ("delivery_count", models.IntegerField()),
                ("expires_at", models.FloatField(null=True)),
                ("due_at", models.FloatField(null=True)),
                ("cause", models.CharField(max_length=32, null=True)),
                ("died_at", models.FloatField(null=True)),
                ("death", models.BigIntegerField(null=True)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="StoredQueue",
            fields=[
                ("name", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("policy", models.TextField()),
                ("created_at", models.FloatField()),
                ("paused_at", models.FloatField(null=True)),
            ],
            options={
                "default_permissions": (),
            },
        ),
    ]
