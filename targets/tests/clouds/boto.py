"""AWS' own client for Python, for what a test does beside rota: `boto.py URL VERB [ARGUMENT…]`, one JSON line out."""

import json
import sys
import urllib.request

import boto3
from botocore.exceptions import ClientError

url, verb, *rest = sys.argv[1:]


def client(service, key_id, secret):
    return boto3.client(
        service, endpoint_url=url, region_name="us-east-1", aws_access_key_id=key_id, aws_secret_access_key=secret
    )


def allow(iam, user, actions):
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=document)


def set_up():
    """Users and their policies; from the last line on every call is authenticated and authorised."""
    iam = client("iam", "boot", "boot")
    every = ["CreateAccessKey", "ListAccessKeys", "UpdateAccessKey", "DeleteAccessKey", "GetAccessKeyLastUsed"]
    users = {
        "rota": [f"iam:{action}" for action in every],
        "reader": ["iam:ListAccessKeys"],
        "maker": ["iam:ListAccessKeys", "iam:CreateAccessKey"],
        "nobody": ["s3:ListBucket"],
        "outer": ["sts:AssumeRole"],
        "god": ["*"],
    }
    keys = {}
    for user, actions in users.items():
        iam.create_user(UserName=user)
        allow(iam, user, actions)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        keys[user] = [key["AccessKeyId"], key["SecretAccessKey"]]
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam.create_role(RoleName="rotator", AssumeRolePolicyDocument=document)
    statement = {"Effect": "Allow", "Action": users["rota"], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName="rotator", PolicyName="p", PolicyDocument=document)
    for number in range(int(rest[0])):
        iam.create_user(UserName=f"app{number}")
    # Any content type but a form's.
    request = urllib.request.Request(f"{url}/moto-api/reset-auth", data=b"0", headers={"content-type": "text/plain"})
    urllib.request.urlopen(request)
    return keys


def log_in():
    try:
        client("sts", rest[0], rest[1]).get_caller_identity()
        return "accepted"
    except ClientError as error:
        return error.response["Error"]["Code"]


def keys_of():
    listed = client("iam", rest[0], rest[1]).list_access_keys(UserName=rest[2])["AccessKeyMetadata"]
    return {key["AccessKeyId"]: key["Status"] for key in listed}


def make_key():
    key = client("iam", rest[0], rest[1]).create_access_key(UserName=rest[2])["AccessKey"]
    return [key["AccessKeyId"], key["SecretAccessKey"]]


verbs = {"set-up": set_up, "log-in": log_in, "keys-of": keys_of, "make-key": make_key}
print(json.dumps(verbs[verb]()))
